"""Counters that callers keep: integers in the server, atomic, each with a TTL."""

from __future__ import annotations

from stoker.core.errors import LinkError, ReplyError
from stoker.core.keys import Keys
from stoker.core.link import Link
from stoker.core.script import Script


class Tallies:
    """The callers' counters in Redis."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys
        self._increment = Script("increment.lua")

    async def add(self, cache_type: str, key: str, by: int, ttl_ms: int) -> int | None:
        """Add to a counter; None when the server can't be asked, or the sum is no 64-bit integer."""
        name = self._keys.counter(cache_type, key)
        try:
            return int(await self._increment.run(self._link, [name], by, ttl_ms))
        except (LinkError, ReplyError):
            return None

    async def read(self, cache_type: str, key: str) -> int | None:
        """Return a counter's value; None where there is none."""
        try:
            value = await self._link.call("GET", self._keys.counter(cache_type, key))
        except (LinkError, ReplyError):
            return None
        return None if value is None else int(value)
