"""The rules of epochs; the model is `epochs`."""

from __future__ import annotations

from tests.models.explorer import Rule
from tests.models.kinds import LOST, STALE

RULES = (
    Rule(
        "epoch-in-entry",
        STALE,
        "restarted",
        "an entry carries its epoch, and one of another epoch is not served as alive",
        "what was invalidated by a record that the server lost comes to life",
    ),
    Rule(
        "run-id",
        STALE,
        "restarted",
        "the server's run id is compared on every connection, before anything is served",
        "a snapshot that holds the last known record passes for the log that was known",
    ),
    Rule(
        "anchor",
        STALE,
        "evicted",
        "a check begins at the last known record, and finds it gone when the log is lost",
        "an empty log looks like one in which nothing has happened",
    ),
    Rule(
        "commit-epoch",
        LOST,
        "evicted",
        "a load that began in another epoch is not stored",
        "it takes the place of an entry of this one",
    ),
    Rule(
        "epoch-start",
        STALE,
        "evicted, revalidate",
        "against an entry of an older epoch all records of the new one count, whatever its `born`",
        "after ids ran backwards a record is taken for older than the entry that it names",
    ),
    Rule(
        "older-records",
        STALE,
        "restarted, revalidate",
        "records of older epochs that are still there count against entries of older epochs",
        "what the server has not lost is not obeyed",
    ),
    Rule(
        "sweep-one-epoch",
        STALE,
        "restarted, swept, revalidate",
        "a sweep that meets another epoch, or run of the server, does not trim",
        "the restart brought back an entry that had been unlinked, and the trim removes what kills it",
    ),
)
