"""The rules of the memory tier; the model is `memory`."""

from __future__ import annotations

from tests.models.explorer import Rule
from tests.models.kinds import BEHIND, DISOBEYED, OUTLIVED

RULES = (
    Rule(
        "held-against-the-log",
        BEHIND,
        "invalidated elsewhere",
        "a hit needs that no record of its scopes lies after where its copy was last held against the log",
        "what another process invalidated is served until it expires",
    ),
    Rule(
        "known-from",
        BEHIND,
        "invalidated and swept",
        "a copy that was last held against the log before what may have been forgotten is not served",
        "a process that slept through a sweep serves what the trimmed records had killed",
    ),
    Rule(
        "bound",
        BEHIND,
        "invalidated elsewhere",
        "a hit needs an answer of the log no older than the bound",
        "a process that lost the server, or was suspended, serves on",
    ),
    Rule(
        "proof-is-sending",
        BEHIND,
        "invalidated elsewhere",
        "an answer is as old as its question: the time it was sent counts, not the time it came",
        "an answer that was under way for long vouches for what has changed since",
    ),
    Rule(
        "load-checked-at-born",
        BEHIND,
        "loaded",
        "a loaded value counts as held against the log up to its `born`, not up to when it was kept",
        "an invalidation during the load is passed over",
    ),
    Rule(
        "fetch-checked-by-itself",
        OUTLIVED,
        "shortened",
        "a fetched value counts as held against the log up to where its own check read",
        "another check has brought in meanwhile that its life was shortened, and the copy is kept after that",
    ),
    Rule(
        "unordered-checked-at-sending",
        OUTLIVED,
        "shortened, in any order",
        "where the check may run after the fetch, the log as known when both were sent counts instead",
        "a copy that was fetched before its life was shortened is kept as if it had been looked at after",
    ),
    Rule(
        "own-append-at-once",
        DISOBEYED,
        "invalidated here",
        "one's own append is obeyed when it is answered, not when it is read",
        "a process serves for a bound what it has itself invalidated",
    ),
    Rule(
        "overwrite-appends",
        BEHIND,
        "overwritten",
        "whoever overwrites an entry that memories may hold appends a record of its key",
        "other processes serve the old copy until it expires",
    ),
    Rule(
        "loaded-overwrite-appends",
        BEHIND,
        "overwritten as loaded",
        "whoever overwrites an entry with what is born at an earlier miss appends a record that drops copies",
        "other processes serve the old copy until it expires",
    ),
    Rule(
        "store-then-append",
        BEHIND,
        "overwritten as loaded",
        "a value born at an earlier miss is stored before that is told",
        "a copy of what it replaces is fetched after the record, and kept",
    ),
    Rule(
        "shorten-appends",
        OUTLIVED,
        "shortened",
        "whoever shortens an entry's life appends a record that drops its copies",
        "other processes serve their copies for the life they had",
    ),
    Rule(
        "change-then-append",
        OUTLIVED,
        "shortened",
        "the entry's life is shortened before that is told",
        "a copy of the entry as it was is fetched after the record, and kept",
    ),
)
