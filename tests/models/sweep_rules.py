"""The rules of the sweep; the model is `sweep`."""

from __future__ import annotations

from tests.models.explorer import Rule
from tests.models.kinds import LOST, STALE

RULES = (
    Rule(
        "fence-refuses",
        STALE,
        "two processes",
        "a commit born before the fence is refused",
        "a slow load stores what was killed by a record that has been trimmed",
    ),
    Rule(
        "fence-before-scan",
        STALE,
        "two processes",
        "the fence is raised before the scan",
        "a dead entry is stored behind the scan's back, and outlives the record that killed it",
    ),
    Rule(
        "scan-before-trim",
        STALE,
        "two processes",
        "what is dead is unlinked before the log is trimmed",
        "a reader that knows the trimmed log only finds a dead entry, and nothing that killed it",
    ),
    Rule(
        "sweeper-learns",
        STALE,
        "two processes",
        "the sweep reads the log to its end before it judges",
        "an entry that looks alive is left where its killer is trimmed",
    ),
    Rule(
        "compare-and-unlink",
        LOST,
        "two processes",
        "an entry is unlinked only if it is still the one that was looked at",
        "an entry that was stored meanwhile is lost",
    ),
    Rule(
        "look-again",
        STALE,
        "one process",
        "a read looks again if what may be forgotten rose between its sending and its judgement",
        "another read takes the sweep's note in, and what killed the fetched entry is forgotten",
    ),
    Rule(
        "one-view",
        STALE,
        "doubts",
        "a check counts only if the log was known, and not looked at anew, from its asking to its answer",
        "what it brings enters a history that is on its way out; the read is judged by the one that follows",
    ),
    Rule(
        "anchor",
        STALE,
        "a stranger cuts",
        "a check begins at the last known record, and finds it gone if the log was cut",
        "a reader never learns of records that somebody trimmed",
    ),
    Rule(
        "floor",
        STALE,
        "a stranger cuts",
        "nothing born before the beginning of a log that doesn't begin at its floor is trusted",
        "a process that starts anew serves what the trimmed records had killed",
    ),
    Rule(
        "touch-in-place",
        STALE,
        "touches",
        "`touch` and `expire` change the entry they looked at in place, and never make one",
        "a dead entry is written back after the sweep",
    ),
    Rule(
        "touch-keeps-born",
        STALE,
        "touches",
        "no change of an entry raises its `born`",
        "a dead entry comes to life",
    ),
)
