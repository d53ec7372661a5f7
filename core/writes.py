"""Writes: values that callers vouch for, or computed after a miss; counters."""

from __future__ import annotations

import time
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, cast

from stoker.core.counters import SAMPLE_EVERY
from stoker.core.entries.commits import STORED
from stoker.core.entries.entry import encode_tags
from stoker.core.entries.outcome import Origin
from stoker.core.errors import UsageError
from stoker.core.keys import check_key
from stoker.core.maintenance.tallies import check_amount
from stoker.core.marks import Marks, Token, marks_here
from stoker.core.parts import Parts
from stoker.core.settings.policy import Policy, check_ttl
from stoker.core.write_through import WriteThrough


class Writes(Parts):
    """What a `CacheManager` can be told to keep."""

    # No `async def`: see `marks`.
    def set(
        self,
        cache_type: str,
        key: str,
        value: Any,
        ttl: float | None = None,
        *,
        tags: Iterable[str] = (),
        if_absent: bool = False,
        nx: bool = False,
        token: Token | None = None,
    ) -> Coroutine[Any, Any, bool]:
        """Store a value; say whether it was stored.

        After a `get` of the key that missed, in the same task, this is a load by hand: if the key was
        invalidated since, the value counts for nothing, and the answer is False. So it is with a token.
        Otherwise (always with `if_absent`) the caller vouches for the value *now*, and for nothing that was
        read from a source before an invalidation.

        Args:
            cache_type: The key's type.
            key: The key.
            value: Anything that MessagePack (or JSON) holds: plain data, dataclasses, Structs, models.
            ttl: Seconds it is fresh; the type's where not given.
            tags: Names under which it can be invalidated with others.
            if_absent: Store only if there is no fresh value (one that was invalidated is none).
            nx: The same as `if_absent`.
            token: What `fill` returned before the value was computed.

        Raises:
            UsageError: The key, the TTL or a tag can't be used; the token is none, or another key's.
        """
        return self._set(marks_here(), cache_type, key, value, ttl, tags, if_absent or nx, token)

    async def _set(
        self,
        marks: Marks,
        cache_type: str,
        key: str,
        value: Any,
        ttl: float | None,
        tags: Iterable[str],
        if_absent: bool,
        token: Token | None,
    ) -> bool:
        policy, counters = self._types.get(cache_type) or self._type(cache_type)
        encoded = self._check(key, ttl, tags)
        # Who creates something tells the truth of now: an older miss says nothing of it.
        by_hand = not if_absent or token is not None
        mark = self._birth(policy, cache_type, key, token, marks) if by_hand else None
        began = 0.0 if counters.sets % SAMPLE_EVERY else time.perf_counter()
        if if_absent:
            stored = await self.storage.store_if_absent(
                cache_type, key, value, encoded, policy, ttl=ttl, born=mark
            )
        elif mark is None and cache_type in self._in_memory:
            stored = await self.storage.store_told(cache_type, key, value, encoded, ttl=ttl)
        elif mark is None:
            future = self.storage.vouch(cache_type, key, value, encoded, ttl, policy)
            stored = future is not None and await future is STORED
            if stored:
                counters.sets += 1
            elif future is not None:
                counters.sets_refused += 1
        else:
            stored = await self.storage.store(
                cache_type, key, value, encoded, *mark, ttl=ttl, origin=Origin.COMPUTED
            )
        if began:
            counters.durations["set"].observe(time.perf_counter() - began)
        return stored

    def set_many(
        self,
        cache_type: str,
        values: Mapping[str, Any],
        ttl: float | None = None,
        *,
        tags: Iterable[str] = (),
    ) -> Coroutine[Any, Any, int]:
        """Store values by key, with a write for some of them each; say how many were stored.

        Args:
            cache_type: The keys' type.
            values: The values by key.
            ttl: Seconds they are fresh; the type's where not given.
            tags: Tags of all of them.

        Raises:
            UsageError: A key, the TTL or a tag can't be used, or that is no mapping; nothing was stored.
        """
        return self._set_many(marks_here(), cache_type, values, ttl, tags)

    async def _set_many(
        self, marks: Marks, cache_type: str, values: Any, ttl: float | None, tags: Iterable[str]
    ) -> int:
        encoded = encode_tags(tags)
        if not isinstance(values, Mapping):
            raise UsageError(f"values come in a mapping by key, not in a {type(values).__name__}")
        named = cast("Mapping[str, Any]", values)
        policy = self.policy(cache_type)
        for key in named:
            self._check(key, ttl, ())
        births = {key: self._birth(policy, cache_type, key, None, marks) for key in named}
        return await self.storage.store_many(cache_type, named, births, encoded, ttl=ttl)

    @staticmethod
    def _check(key: str, ttl: float | None, tags: Iterable[str]) -> tuple[bytes, ...]:
        check_key(key)
        if ttl is not None:
            check_ttl(ttl)
        return encode_tags(tags) if tags != () else ()

    def _birth(
        self, policy: Policy, cache_type: str, key: str, token: Token | None, marks: Marks
    ) -> tuple[int, int] | None:
        """Where a value was born; None where the caller vouches for it now."""
        if token is not None:
            if not isinstance(token, Token):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise UsageError(f"a token is what `fill` returned, not a {type(token).__name__}")
            if (token.cache_type, token.key) != (cache_type, key):
                raise UsageError(f"the token is for {token.cache_type}:{token.key}, not {cache_type}:{key}")
            return token.epoch, token.born
        if policy.kind == "authoritative":
            return None
        mark = marks.take(self._owner, cache_type, key)
        if mark is None and cache_type in self.keeps_alone and not self.link.ready:
            log = self.log
            return log.epoch, log.known if log.epoch else log.seen
        return mark

    # -- computing by hand ------------------------------------------------------------------------

    async def fill(self, cache_type: str, key: str) -> Token:
        """Return a token for a value that is about to be computed, to be handed to `set` with it.

        It does what a `get` that misses does for the `set` after it in the same task, for whoever computes
        elsewhere: if the key is invalidated after this call, the value is stored dead. Who changes what is
        there takes it before the reading, of an authoritative type, too: what has ended does not come back.

        Raises:
            UsageError: The key can't be used.
        """
        settle = self.policy(cache_type).settle
        check_key(key)
        await self.log.catch_up()
        born = await self.log.birth(settle) if settle else self.log.seen
        return Token(cache_type, key, self.log.epoch, born)

    def write_through(self, cache_type: str, key: str) -> WriteThrough:
        """Change the source and the cache together: `async with cache.write_through(type, key) as write`.

        Commit to the source inside the block and assign `write.value` what is stored there now. When the
        block ends the key is invalidated, and the value stored if nobody else wrote or invalidated the key
        meanwhile; else the next read loads it. If the block raises, the key is invalidated all the same:
        nobody knows whether the source was changed.

        Raises:
            UsageError: The key can't be used.
        """
        self.policy(cache_type)
        return WriteThrough(self, cache_type, check_key(key))

    # -- time to live -----------------------------------------------------------------------------

    async def expire(self, cache_type: str, key: str, ttl: float) -> bool:
        """Let a fresh value live `ttl` seconds from now; say whether there was one.

        What was invalidated, or has expired, is not revived.

        Raises:
            UsageError: The key or the TTL can't be used.
        """
        policy = self.policy(cache_type)
        return await self.storage.touch(cache_type, check_key(key), policy, check_ttl(ttl))

    async def touch(self, cache_type: str, key: str) -> bool:
        """Let a fresh value live the type's TTL from now; say whether there was one."""
        policy = self.policy(cache_type)
        return await self.storage.touch(cache_type, check_key(key), policy, policy.ttl)

    # -- counters ---------------------------------------------------------------------------------

    async def increment(
        self, cache_type: str, key: str, amount: int = 1, *, ttl: float | None = None
    ) -> int | None:
        """Add to a counter and return its new value; None when the server could not be asked.

        Counters are integers of their own, beside the values: atomic in the server, ended by their TTL or by
        `delete`, and by no other invalidation.

        Args:
            cache_type: The key's type.
            key: The key.
            amount: How much; negative to subtract.
            ttl: Seconds that a counter lives which begins now; the type's where not given.

        Raises:
            UsageError: The key, the TTL or the amount can't be used.
        """
        policy = self.policy(cache_type)
        self._check(key, ttl, ())
        ttl_ms = int((policy.ttl if ttl is None else ttl) * 1000)
        return await self._tallies.add(cache_type, key, check_amount(amount), max(1, ttl_ms))

    async def decrement(
        self, cache_type: str, key: str, amount: int = 1, *, ttl: float | None = None
    ) -> int | None:
        """Subtract from a counter; see `increment`."""
        return await self.increment(cache_type, key, -check_amount(amount), ttl=ttl)

    async def counter(self, cache_type: str, key: str) -> int | None:
        """Return a counter's value; None where there is none, or the server could not be asked."""
        self.policy(cache_type)
        return await self._tallies.read(cache_type, check_key(key))
