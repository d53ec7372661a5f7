"""Values that callers vouch for *now*, stored with a plain `SET` where that does as well as the script.

Such a value is to be stamped with the log's end (`commits.TAIL`), which a script alone can look up in the
same step. Almost always the end is where this process has read to already: then the value is stamped with
that, and a look at the log travels in the same write, before it. Where the look shows that the log has grown,
the value is stamped anew, in place and only if it is still this one, with the log's end *as of the look*:
whatever is invalidated after it stays so.

What has grown may have named the entry: for that moment, a dead one may stand in the place of a live one. A
loader can make that again; where the cache is the source (authoritative types), only the script will do.
"""

from __future__ import annotations

import hashlib
from asyncio import Future, get_running_loop
from collections.abc import Iterable
from functools import partial
from typing import Any, TypeAlias

from stoker.core.entries.commits import HEAD, STORED, TAIL, Commit, Commits, unanswered
from stoker.core.entries.entry import FROZEN_BYTES
from stoker.core.errors import LinkError
from stoker.core.keys import Keys
from stoker.core.link.link import Link
from stoker.core.link.packing import SetOfEntry
from stoker.core.link.script import Script
from stoker.core.link.wire import settle
from stoker.core.log.check import Check
from stoker.core.log.knowledge import Log
from stoker.core.log.position import START
from stoker.core.settings.policy import Policy

#: Entries of a batch, and bytes of them, that may be under way at a time.
UNDER_WAY = 1_000
UNDER_WAY_BYTES = 16 * 2**20

#: Seconds since the log was last known to its end: after longer, one look may not bring all that is new.
RECENT_SECONDS = 1.0

#: What stamping an entry anew answers where nothing is stored any more.
GONE = -1

#: Sets that go by script after one whose look showed that the log has grown: it may go on growing.
SETS_BY_SCRIPT = 64

Vouched: TypeAlias = tuple[str, str, int, int, bytes, bytes, int]
"""An entry on its way: type and key; the log's epoch, and the position up to which it is known; the head of
the stored form, stamped with these, and its payload; milliseconds after which the server drops it."""


class Vouching:
    """Stores what callers vouch for."""

    def __init__(self, link: Link, log: Log, keys: Keys, commits: Commits) -> None:
        self._link = link
        self._log = log
        self._keys = keys
        self._commits = commits
        self._restamp = Script("restamp.lua")
        self._by_script_yet = 0
        self._version = -1
        """The log's version for which there was nothing beyond `_end`."""
        self._end = 0, START
        self._sets: dict[str, SetOfEntry] = {}

    def store(self, one: Vouched, policy: Policy) -> Future[Commit]:
        """Queue an entry for this loop turn's write; the future says what became of it."""
        log, (cache_type, key, epoch, born, head, payload, ttl_ms) = self._log, one
        if self._by_script_yet:
            self._by_script_yet -= 1
            return self._by_script(one)
        if (log.version != self._version and not self._note_end()) or (epoch, born) != self._end:
            return self._by_script(one)
        set_of = self._sets.get(cache_type)
        if set_of is None:
            if policy.kind == "authoritative" or self._link.is_cluster:
                return self._by_script(one)
            set_of = self._set_of(cache_type)
        loop = get_running_loop()
        future: Future[Commit] = Future(loop=loop)
        try:
            command = set_of.pack(key, head, payload, ttl_ms)
            check = log.check(loop)
            if check.at - log.proved > RECENT_SECONDS:
                return self._by_script(one)
            take = partial(self._take, one, check, log.version, future)
            self._link.post_packed(command, take, loop)
        except LinkError:
            settle(future, Commit.UNREACHABLE)
        return future

    async def store_many(self, entries: Iterable[Vouched], policy: Policy) -> list[Commit]:
        """Store entries of one type with a few writes; say of each what became of it.

        Args:
            entries: The entries; each is made while others are on their way.
            policy: The type's policy.
        """
        under_way, commits, size = list[Future[Commit]](), list[Commit](), 0
        for one in entries:
            under_way.append(self.store(one, policy))
            size += len(one[5])
            if len(under_way) == UNDER_WAY or size > UNDER_WAY_BYTES:
                commits += [await future for future in under_way]
                under_way, size = [], 0
        return commits + [await future for future in under_way]

    def _note_end(self) -> bool:
        """Say whether the log ends, as far as this process knows, where it was read to."""
        log = self._log
        self._end = log.epoch, log.seen
        is_known = bool(log.epoch) and log.known == log.seen and log.kept.empty
        self._version = log.version if is_known else -1
        return is_known

    def _take(self, one: Vouched, check: Check, version: int, future: Future[Commit], reply: Any) -> None:
        log, epoch, born = self._log, one[2], one[3]
        if reply != b"OK":
            settle(future, unanswered(reply))
        elif check.complete and (log.version == version or (log.seen == born and log.epoch == epoch)):
            if not future.done():
                future.set_result(STORED)
        elif log.epoch != epoch or check.failed:
            settle(future, Commit.OTHER_EPOCH)
        elif not future.done():
            self._by_script_yet = SETS_BY_SCRIPT
            self._stamp_anew(one, check, future)

    def _stamp_anew(self, one: Vouched, check: Check, future: Future[Commit]) -> None:
        """Stamp an entry with how far the look reached; if somebody has stored another since, that stands."""
        cache_type, key, _, _, head, payload, ttl_ms = one
        # Of a look that was cut off, later records may have named the entry, before it was set or after.
        commit = Commit.STORED if check.complete else Commit.YOUNGER
        # The replies of later looks have not come yet: what is known now is what this one brought.
        stamp = head[4:12] + self._log.seen.to_bytes(16)

        def take(reply: Any) -> None:
            if reply != GONE:
                settle(future, commit if isinstance(reply, int) else unanswered(reply))
                return
            # A delete that came before it has taken it for what it had killed.
            stored = head[:4] + stamp + head[FROZEN_BYTES:] + payload
            again = self._commits.commit(cache_type, key, stored, ttl_ms, HEAD)
            again.add_done_callback(lambda done: settle(future, _if_nothing_stands_there(done.result())))

        name, where = self._keys.entry(cache_type, key), FROZEN_BYTES - len(stamp)
        digest = hashlib.sha1(head + payload, usedforsecurity=False).hexdigest()
        arguments = (1, name, digest, stamp, where)
        try:
            self._restamp.post(lambda head, handler: self._link.post((*head, *arguments), handler), take)
        except LinkError as error:
            take(error)

    def _set_of(self, cache_type: str) -> SetOfEntry:
        """What stores a type's entries."""
        found = self._sets[cache_type] = SetOfEntry(self._keys.entry(cache_type, "")[:-1])
        return found

    def _by_script(self, one: Vouched) -> Future[Commit]:
        cache_type, key, _, _, head, payload, ttl_ms = one
        return self._commits.commit(cache_type, key, head + payload, ttl_ms, TAIL)


def _if_nothing_stands_there(commit: Commit) -> Commit:
    """What became of a set that was to be stored only then: else another one stands, which came later."""
    return STORED if commit is Commit.YOUNGER else commit
