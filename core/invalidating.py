"""Invalidation: by key, tag, type, pattern, or of everything."""

from __future__ import annotations

from stoker.core.errors import UsageError
from stoker.core.keys import check_key, check_text
from stoker.core.log import Receipt
from stoker.core.parts import Parts
from stoker.core.scopes import Key, Pattern, Scope, Tag, Type


class Invalidating(Parts):
    """What a `CacheManager` can be told to forget."""

    async def delete(self, cache_type: str, key: str) -> int:
        """Invalidate a key and give its memory back; say how many entries were unlinked (0 or 1)."""
        self.policy(cache_type)
        check_key(key)
        self.counters.of(cache_type).deletes += 1
        receipt = await self.invalidate(Key(cache_type, key))
        return await self.tier.unlink(cache_type, key) if receipt.acknowledged else 0

    async def invalidate_type(self, cache_type: str) -> Receipt:
        """Invalidate all entries of a type, in one command whatever their number."""
        self.policy(cache_type)
        return await self.invalidate(Type(cache_type))

    async def invalidate_tags(self, *tags: str) -> Receipt:
        """Invalidate all entries that carry one of the tags, in one command whatever their number."""
        return await self.invalidate(*(Tag(tag) for tag in tags))

    async def invalidate_pattern(self, cache_type: str, pattern: str) -> Receipt:
        """Invalidate all entries of a type whose key matches a glob, in one command."""
        self.policy(cache_type)
        return await self.invalidate(Pattern(cache_type, pattern))

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
        return await self.log.append(scopes, by=by or self.process, trace=trace, reason=reason)
