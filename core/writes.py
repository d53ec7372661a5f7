"""Writes: values that callers vouch for, or computed after a miss."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from stoker.core.entry import encode_tags
from stoker.core.keys import check_key
from stoker.core.marks import take_mark
from stoker.core.parts import Parts
from stoker.core.policy import check_ttl


class Writes(Parts):
    """What a `CacheManager` can be told to keep."""

    async def set(
        self, cache_type: str, key: str, value: Any, *, ttl: float | None = None, tags: Iterable[str] = ()
    ) -> bool:
        """Store a value; say whether it was stored.

        After a `get` of the key that missed, in the same task, this is a load by hand: if the key was
        invalidated since, the value is stored dead. Otherwise the caller vouches for the value *now*.

        Args:
            cache_type: The key's type.
            key: The key.
            value: Anything that MessagePack (or JSON) holds: plain data, dataclasses, Structs, models.
            ttl: Seconds it is fresh; the type's where not given.
            tags: Names under which it can be invalidated with others.
        """
        policy = self.policy(cache_type)
        check_key(key)
        encoded = encode_tags(tags)
        if ttl is not None:
            check_ttl(ttl)
        mark = take_mark(self._owner, cache_type, key) if policy.kind == "derived" else None
        began = time.perf_counter()
        if mark is None:
            stored = await self._storage.store_now(cache_type, key, value, encoded, ttl=ttl)
        else:
            stored = await self._storage.store(cache_type, key, value, encoded, *mark, ttl=ttl)
        self.counters.of(cache_type).durations["set"].observe(time.perf_counter() - began)
        return stored
