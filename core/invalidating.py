"""Invalidation: by key, tag, type, pattern, or of everything."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence

from stoker.core.errors import LinkError, ReplyError, UsageError
from stoker.core.keys import check_key, check_text, several
from stoker.core.log.appending import MAX_RECORD_SCOPES, Receipt
from stoker.core.log.position import parse_position
from stoker.core.log.scopes import Key, Pattern, Scope, Tag, Type
from stoker.core.maintenance.purging import purge
from stoker.core.maintenance.unlinking import unlink_killed
from stoker.core.reads import Reads
from stoker.core.settings.policy import Policy

#: A note in a record of the log (who, why, a trace) has at most so many characters.
MAX_NOTE = 4_096


class Invalidating(Reads):
    """What a `CacheManager` can be told to forget."""

    async def delete(self, cache_type: str, key: str) -> int:
        """Invalidate a key and give its memory back; say how many entries were unlinked (0 or 1)."""
        return await self.delete_many(cache_type, [key])

    async def delete_many(self, cache_type: str, keys: Iterable[str]) -> int:
        """Invalidate keys and give their memory back; say how many entries were unlinked.

        One record names all, or so many as a record holds (`MAX_RECORD_SCOPES`).
        """
        policy = self.policy(cache_type)
        named = list(dict.fromkeys([check_key(key) for key in several("keys", keys)]))
        if not named:
            return 0
        self.counters.of(cache_type).deletes += len(named)
        # All of it happens, also if the caller gives up meanwhile.
        return await self.log.carry_out(self._delete(cache_type, named, policy), "stoker-delete")

    async def _delete(self, cache_type: str, keys: Sequence[str], policy: Policy) -> int:
        here, gone, epoch = 0, 0, self.log.epoch
        killed: list[tuple[Sequence[str], int]] = []
        for start in range(0, len(keys), MAX_RECORD_SCOPES):
            part = keys[start : start + MAX_RECORD_SCOPES]
            ending = self._tallies.end(cache_type, part)
            invalidating = self.invalidate(*(Key(cache_type, key) for key in part))
            if self._alone:  # neither waits for anybody, so nothing can come between
                ended, receipt = await ending, await invalidating
            else:
                # Sent before the record: a counter that begins once that is acknowledged is another.
                ended, receipt = await asyncio.gather(ending, invalidating)
            here += self._remove_here(cache_type, part, policy)
            if receipt.acknowledged and receipt.log_id:  # what is told of a server that is away is not known
                gone += ended
                killed.append((part, parse_position(receipt.log_id)))
        if not policy.in_redis:
            return here + gone
        with contextlib.suppress(LinkError, ReplyError):
            for part, position in killed:
                gone += await unlink_killed(self, cache_type, part, epoch, position)
        return gone

    def _remove_here(self, cache_type: str, keys: Iterable[str], policy: Policy) -> int:
        return sum(self.memory.remove(cache_type, key) for key in keys) if policy.in_memory else 0

    async def invalidate_type(self, cache_type: str) -> Receipt:
        """Invalidate all entries of a type, in one command whatever their number."""
        self.policy(cache_type)
        return await self.invalidate(Type(cache_type))

    async def invalidate_tags(self, *tags: str) -> Receipt:
        """Invalidate all entries that carry one of the tags, in one command whatever their number."""
        return await self.invalidate(*(Tag(tag) for tag in tags))

    async def invalidate_pattern(
        self,
        cache_type: str,
        pattern: str,
        *,
        by: str | None = None,
        trace: str | None = None,
        reason: str | None = None,
    ) -> int:
        """Invalidate all entries of a type whose key matches a glob; say how many were unlinked.

        One command invalidates them; then they are looked for and unlinked in small steps, for five seconds
        at most. `invalidate(Pattern(…))` does the first alone, and answers with a receipt.

        Args:
            cache_type: The keys' type.
            pattern: `*`, `?`, `[a-z]`; what is to stand for itself goes through `glob_escape`.
            by: As of `invalidate`.
            trace: As of `invalidate`.
            reason: As of `invalidate`.

        Raises:
            UsageError: There is no such type, or the pattern can't be used.
        """
        self.policy(cache_type)
        await self.invalidate(Pattern(cache_type, pattern), by=by, trace=trace, reason=reason)
        return await purge(self, cache_type, pattern)

    async def invalidate(
        self, *scopes: Scope, by: str | None = None, trace: str | None = None, reason: str | None = None
    ) -> Receipt:
        """Invalidate scopes. Strict reads that begin after an acknowledged receipt never see what was before.

        Args:
            *scopes: What to invalidate; all of them stand in one record.
            by: Who asks, for the audit trail; this process where not given.
            trace: An id that leads from here to the reloads that follow.
            reason: For the audit trail.

        Raises:
            UsageError: There is no scope, or one or a note of it can't be written.
        """
        if not scopes:
            raise UsageError("nothing to invalidate: name a key, a tag, a type, a pattern or everything")
        for note in (by, trace, reason):
            if note is not None:
                check_text("a note", note)
                if len(note) > MAX_NOTE:
                    raise UsageError(f"a note has at most {MAX_NOTE} characters, not {len(note)}")
        return await self.log.append(scopes, by=by or self.process, trace=trace, reason=reason)
