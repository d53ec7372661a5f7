"""Entries that an older cache wrote, read where Stoker has none yet: a switch need not start cold.

```python
old = OldEntries(cache, "shop:{key}", until=datetime(2026, 12, 1, tzinfo=UTC))
load = old.before(load_product)  # once
product = await cache.get_or_load("product", "42", load, 42)
```

The promise of the invalidation log holds for them, too. When they were written is not known, so each counts
as written before *the switch*: the moment at which the first process with `OldEntries` looked at the log. It
is taken only if the log, looked at after it was read, is known from there on, in the same epoch, and names
nothing of it; it is stored as born before it was read, and is fresh no longer than the type's TTL from the
switch. What has been stored is removed there: nothing is taken twice, and nothing lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar, cast

from stoker.core.decorators.arguments import passes_on
from stoker.core.entries.codec import MISSING
from stoker.core.entries.commits import HEAD
from stoker.core.entries.entry import encode_tags
from stoker.core.entries.lookup import State
from stoker.core.entries.outcome import Origin
from stoker.core.errors import LinkError, UsageError
from stoker.core.keys import check_key, check_text
from stoker.core.loading.flights import Flight, Loaded
from stoker.core.loading.loaders import LoadFunction, TagFunction, returned_by, stand_for
from stoker.core.loading.loads import Load, load_of
from stoker.core.manager import CacheManager
from stoker.core.old_server import Decode, OldServer, decode_old
from stoker.core.switch import SwitchNote

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


class OldEntry(NamedTuple):
    """What the older cache had."""

    value: Any
    seconds: float
    """For so long it may be fresh."""
    tags: tuple[str, ...]
    """Its tags, where a function was given that tells them."""


@dataclass(frozen=True, slots=True)
class _Found:
    """An old entry that may be taken over."""

    entry: OldEntry
    tags: tuple[bytes, ...]
    name: str
    data: bytes
    epoch: int
    born: int
    """Where the log was known when the reading began: what was invalidated since kills it."""


@dataclass(slots=True)
class OldEntryCounts:
    """What became of old entries in this process."""

    taken: int = 0
    """Stored here."""
    absent: int = 0
    """Not there, or their server could not be asked."""
    refused: int = 0
    """Invalidated since the switch, or the log does not say whether they were; or names of Stoker's own."""
    unnamed: int = 0
    """The function `names` raised, or gave what is no text."""
    undecodable: int = 0
    """Not of the form that was said, not of the loader's type, or larger than the type's `max_entry`."""


class OldEntries:
    """Reads entries of an older cache, before a loader is called.

    Args:
        manager: The cache that takes them over.
        names: The older cache's names in Redis: a text in which `{key}` and `{type}` stand for Stoker's, or a
            function of the loader's arguments, which answers None where there is no older entry.
        until: A moment, with its time zone, after which nobody asks for them any more, at no cost.
        decode: How their bytes become values: `json`; `zlib`, JSON that may be compressed so; `text`;
            `bytes`; or a function of the bytes, which may raise what it likes. Nothing is ever unpickled.
        url: Where they are, if not on the manager's server and in its database.
        keep: Leave what was taken where it is: for readers that are still on the older cache.
        switch: The name of the switch, the same in all processes. Without one it is the first of this prefix;
            a later one, once the log has been swept, needs a name of its own.

    Raises:
        UsageError: An argument can't be used.
    """

    def __init__(
        self,
        manager: CacheManager,
        names: str | Callable[..., str | None],
        *,
        until: datetime,
        decode: Decode = "json",
        url: str | None = None,
        keep: bool = False,
        switch: str | None = None,
    ) -> None:
        if not callable(names) and not (isinstance(names, str) and "{key}" in names):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"names: {names!r:.80} has no {{key}} in it: all entries would have one name")
        if not isinstance(until, datetime) or until.tzinfo is None:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError("until: a moment with its time zone: datetime(…, tzinfo=UTC)")
        if not callable(decode) and decode not in {"json", "zlib", "text", "bytes"}:
            raise UsageError(f"decode: 'json', 'zlib', 'text', 'bytes' or a function, not {decode!r:.40}")
        self._server = OldServer(manager, url)
        if isinstance(names, str) and self._server.is_ours(names):
            raise UsageError(f"names: {names!r:.80} begins as Stoker's own do: give it another `prefix`")
        self.counts = OldEntryCounts()
        self._manager = manager
        self._names = names
        self._until = until.timestamp()
        self._decode: Decode = decode
        self._keep = keep
        self._note = SwitchNote(manager, switch, self._until)

    @property
    def over(self) -> bool:
        """Whether `until` has passed."""
        return time.time() >= self._until

    async def close(self) -> None:
        """Close the connection to `url`; where none was given there is nothing to close."""
        await self._server.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def before(
        self, load: Callable[P, Awaitable[R]], *, tags: Callable[..., Iterable[str]] | None = None
    ) -> Callable[P, Awaitable[R]]:
        """Return a loader that looks for an old entry first, and calls `load` where there is none to take.

        It is for `get_or_load`, `read`, `ResponseCache.get_or_generate` and, below it, `@cached`; and keeps
        tags and TTL of a registered loader. Called elsewhere, it is `load`.

        Args:
            load: An async function.
            tags: Gives the tags of an old value, from it and the loader's arguments, in place of the loader's
                own: `cache.tags` of a `ResponseCache`. It is stored with them.

        Raises:
            UsageError: It gives its results one by one.
        """
        if inspect.isasyncgenfunction(load):
            raise UsageError(f"{load.__qualname__} gives its results one by one: no old entry has these")

        @passes_on(load)
        async def load_old(*args: P.args, **kwargs: P.kwargs) -> R:
            under_way = None if self.over else load_of(load_old)
            if under_way is not None and _misses(under_way[1]):
                flight, needed = under_way
                give = _tags_by(tags, needed, load_old, args, kwargs)
                name = self._name_by(needed, args, kwargs)
                found = name and await self._find(*needed.name, name, returned_by(load), give)
                if found:
                    self._leave_to(flight, found)
                    return cast("R", found.entry.value)
            return await load(*args, **kwargs)

        stand_for(load_old, load)
        return load_old

    async def get(
        self,
        cache_type: str,
        key: str,
        default: Any = None,
        *,
        into: Any = Any,
        name: str | None = None,
        tags: TagFunction | None = None,
    ) -> Any:
        """`CacheManager.get`; on a miss the old entry, which is stored, or `default`.

        For *get, miss, compute, set*, and for sessions. The miss leaves its mark, as always.

        Args:
            cache_type: The key's type.
            key: The key.
            default: What is answered where neither cache has anything.
            into: The type to decode into.
            name: The old entry's name, where `names` can't be told from the key.
            tags: Gives the tags of an old value.

        Raises:
            UsageError: The key can't be used, or has no name.
        """
        value = await self._manager.get(cache_type, key, MISSING, into=into)
        if value is not MISSING:
            return value
        named = self._name(cache_type, key, name)
        found = await self._find(cache_type, key, named, into, tags)
        if found is None:
            return default
        if await self._store(cache_type, key, found):
            return found.entry.value
        return await self._instead(cache_type, key, found.entry.value, default, into)

    async def take(
        self,
        cache_type: str,
        key: str,
        *,
        name: str | None = None,
        into: Any = Any,
        tags: TagFunction | None = None,
    ) -> OldEntry | None:
        """Take an old entry over: store it here, then remove it there. None where nothing was stored.

        Args:
            cache_type: Its type here.
            key: Its key here.
            name: Its name there, where `names` can't be told from the key.
            into: The type to decode into.
            tags: Gives the tags of its value: one that was invalidated since the switch refuses it.

        Raises:
            UsageError: The key can't be used, or has no name.
        """
        self._manager.policy(cache_type)
        named = self._name(cache_type, check_key(key), name)
        found = await self._find(cache_type, key, named, into, tags)
        return found.entry if found and await self._store(cache_type, key, found) else None

    # -- the older cache --------------------------------------------------------------------------

    def _name(self, cache_type: str, key: str, name: str | None) -> str:
        if name is not None:
            check_text("an old entry's name", name)
            return name
        if not isinstance(self._names, str):
            raise UsageError("name: which old entry? `names` is a function of a loader's arguments")
        return self._names.replace("{type}", cache_type).replace("{key}", key)

    def _name_by(self, needed: Load, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
        """The name that belongs to a load; None where the user's function gives none, or raises."""
        if isinstance(self._names, str):
            return self._name(*needed.name, None)
        try:
            name = self._names(*args, **kwargs)
            return None if name is None else self._name(*needed.name, name)
        except Exception as error:  # noqa: BLE001  users' functions raise what they like
            self.counts.unnamed += 1
            if self.counts.unnamed == 1:
                self._warn("old_entry_unnamed", needed.cache_type, error)
            return None

    async def _find(
        self, cache_type: str, key: str, name: str, into: Any, tags: TagFunction | None
    ) -> _Found | None:
        """Read an old entry; None where there is none that may be used."""
        if self.over or (switch := await self._note.find()) is None:
            return None
        policy, log = self._manager.policy(cache_type), self._manager.log
        left = switch.at + policy.ttl - time.time()  # without any, what there is, is too old for the type
        if left <= 0:
            return None
        if self._server.is_ours(name) or not (log.epoch or await log.catch_up()):
            self.counts.refused += 1
            return None
        epoch, born = log.epoch, log.seen
        if (found := await self._server.fetch(name, policy.max_entry)) is None:
            self.counts.absent += 1
            return None
        data, seconds = found
        try:
            value = decode_old(self._decode, data, into, policy.max_entry)
            tagged = encode_tags(() if tags is None else tags(value))
        except Exception as error:  # noqa: BLE001  users' functions raise what they like
            self._count_undecodable(cache_type, error)
            return None
        if not await self._note.spares(cache_type, key, tagged, switch, policy) or log.epoch != epoch:
            self.counts.refused += 1
            return None
        entry = OldEntry(value, min(left, seconds), tuple(tag.decode() for tag in tagged))
        return _Found(entry, tagged, name, data, epoch, born)

    async def _store(self, cache_type: str, key: str, found: _Found) -> bool:
        """Store what was found if nothing is stored, and only then remove it there; say whether it was."""
        manager, policy = self._manager, self._manager.policy(cache_type)
        if not policy.in_redis and await manager.exists(cache_type, key):
            return False  # in memory alone nothing may come between look and store
        stored = await manager.storage.store(
            cache_type,
            key,
            found.entry.value,
            found.tags,
            found.epoch,
            found.born,
            ttl=found.entry.seconds,
            condition=HEAD,
            origin=Origin.COMPUTED if policy.in_redis else Origin.LOADED,
        )
        self.counts.taken += stored
        if stored:
            self._remove(found)
        return stored

    async def _instead(self, cache_type: str, key: str, value: Any, default: Any, into: Any) -> Any:
        """What is answered where an old value could not be stored."""
        there = await self._manager.get(cache_type, key, MISSING, into=into, track_stats=False)
        if there is not MISSING:
            return there  # somebody was faster
        # What is stored and no longer served is younger than any old entry.
        return default if await self._is_on_server(cache_type, key) else value

    async def _is_on_server(self, cache_type: str, key: str) -> bool:
        """Whether the server has something for the key, dead or alive; not where it can't be asked."""
        with contextlib.suppress(LinkError):
            (head,) = await self._manager.tier.heads([self._manager.keys.entry(cache_type, key)])
            return bool(head)
        return False

    def _leave_to(self, flight: Flight, found: _Found) -> None:
        """Leave it to a load to store what was found; once that is done, it is removed there."""
        flight.fresh_at_most, flight.tags = found.entry.seconds, found.tags

        def landed(future: asyncio.Future[Loaded]) -> None:
            if not future.cancelled() and future.exception() is None and future.result().stored:
                self.counts.taken += 1
                self._remove(found)

        flight.landed.add_done_callback(landed)

    def _remove(self, found: _Found) -> None:
        if not self._keep:
            self._server.remove(found.name, found.data)

    def _count_undecodable(self, cache_type: str, error: Exception) -> None:
        self.counts.undecodable += 1
        self._manager.counters.of(cache_type).undecodable += 1
        if self.counts.undecodable == 1:
            self._warn("old_entry_undecodable", cache_type, error)

    @staticmethod
    def _warn(action: str, cache_type: str, error: Exception) -> None:
        said = action, cache_type, type(error).__name__  # its text may hold a value
        logger.warning("action=%s cache_type=%s reason=%s", *said, extra={"action": action})


def _misses(needed: Load) -> bool:
    """Whether nothing is stored: what is refreshed, or warmed, is younger than any old entry.

    Where the server could not be asked, nobody knows what others have invalidated.
    """
    return needed.lookup is not None and needed.lookup.state is State.ABSENT


def _tags_by(
    tags: Callable[..., Iterable[str]] | None,
    needed: Load,
    load: LoadFunction,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> TagFunction:
    """What gives the tags that an old value will be stored with.

    Raises:
        UsageError: They can't be told.
    """
    spec = needed.spec
    if tags is not None:
        return lambda value: tags(value, *args, **kwargs)
    if needed.function is not load and spec is not None and spec.tags is not None:
        raise UsageError("tags: the answers of this cache have some: write before(…, tags=cache.tags)")

    def give(value: Any) -> Iterable[str]:
        own = None if spec is None else spec.tags_for(value, args, kwargs)
        return () if own is None else own(value)

    return give
