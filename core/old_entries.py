"""Entries that an older cache wrote, read where Stoker has none yet: a switch need not start cold.

```python
old = OldEntries(cache, "shop:{key}", until=datetime(2026, 12, 1, tzinfo=UTC))
load = old.before(load_product)  # once
product = await cache.get_or_load("product", "42", load, 42)
```

The promise of the invalidation log holds for them, too. When they were written is not known, so each counts
as written before *the switch*: the moment at which the first process with `OldEntries` looked at the log. It
is taken only if the log is known from there on, in the same epoch, and names nothing of it; and it is fresh
no longer than the type's TTL from the switch. What is taken is removed, so nothing is taken twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import logging
import math
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from types import TracebackType
from typing import Any, Literal, NamedTuple, ParamSpec, Self, TypeVar, cast

from stoker.core.entries.codec import MISSING, decode_payload
from stoker.core.entries.entry import encode_tags, make_flags
from stoker.core.errors import EntryError, LinkError, UsageError
from stoker.core.keys import check_key, check_text
from stoker.core.link.link import Link
from stoker.core.linking import make_link
from stoker.core.loading.loaders import LoadFunction, TagFunction, find_by_function, returned_by, stand_for
from stoker.core.loading.loads import Load, load_of
from stoker.core.manager import CacheManager
from stoker.core.settings.config import RedisConfig
from stoker.core.settings.policy import Policy
from stoker.core.switch import SwitchNote

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

Decode = Literal["json", "zlib", "text", "bytes"] | Callable[[bytes], Any]

_JSON = make_flags("json", "none", is_none=False)


class OldEntry(NamedTuple):
    """What the older cache had."""

    value: Any
    seconds: float
    """For so long it may be fresh."""
    tags: tuple[str, ...]
    """Its tags, where a function was given that tells them."""


@dataclass(slots=True)
class OldEntryCounts:
    """What became of old entries in this process."""

    taken: int = 0
    """Taken over."""
    absent: int = 0
    """Not there, or their server could not be asked."""
    refused: int = 0
    """Invalidated since the switch, or the log does not say whether they were."""
    undecodable: int = 0
    """Not of the form that was said, not of the loader's type, or larger than the type's `max_entry`."""


class OldEntries:
    """Reads entries of an older cache, before a loader is called.

    Args:
        manager: The cache that takes them over.
        names: The older cache's names in Redis: a text in which `{key}` and `{type}` stand for Stoker's, or a
            function of the loader's arguments.
        until: A moment, with its time zone, after which nobody asks for them any more, at no cost.
        decode: How their bytes become values: `json`; `zlib`, JSON that may be compressed so; `text`;
            `bytes`; or a function of the bytes, which may raise what it likes. Nothing is ever unpickled.
        url: Where they are, if not on the manager's server and in its database.
        keep: Leave what was taken where it is: for readers that are still on the older cache.

    Raises:
        UsageError: An argument can't be used.
    """

    def __init__(
        self,
        manager: CacheManager,
        names: str | Callable[..., str],
        *,
        until: datetime,
        decode: Decode = "json",
        url: str | None = None,
        keep: bool = False,
    ) -> None:
        if isinstance(names, str) and "{key}" not in names:
            raise UsageError(f"names: {names!r} has no {{key}} in it: all entries would have one name")
        if not isinstance(until, datetime) or until.tzinfo is None:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError("until: a moment with its time zone: datetime(…, tzinfo=UTC)")
        if not callable(decode) and decode not in {"json", "zlib", "text", "bytes"}:
            raise UsageError(f"decode: 'json', 'zlib', 'text', 'bytes' or a function, not {decode!r:.40}")
        if url is None and not manager.config.redis.enabled:
            raise UsageError("url: this cache has no server of its own: say where the old entries are")
        self.counts = OldEntryCounts()
        self._manager = manager
        self._names = names
        self._until = until.timestamp()
        self._decode = decode
        self._keep = keep
        self._own_link = None if url is None else _link_to(url, manager)
        self._note = SwitchNote(manager, self._id(), self._until)
        self._standing: dict[LoadFunction, LoadFunction] = {}

    @property
    def over(self) -> bool:
        """Whether `until` has passed."""
        return time.time() >= self._until

    async def close(self) -> None:
        """Close the connection to `url`; where none was given there is nothing to close."""
        if self._own_link is not None:
            await self._own_link.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def before(
        self, load: Callable[P, Awaitable[R]], *, tags: Callable[..., Iterable[str]] | None = None
    ) -> Callable[P, Awaitable[R]]:
        """Return a loader that looks for an old entry first, and calls `load` where there is none to take.

        It is for `get_or_load`, `read`, `ResponseCache.get_or_generate` and, below it, `@cached`; and keeps
        tags and TTL of a registered loader. Called elsewhere, it is `load`. Make it once, not for each read.

        Args:
            load: An async function.
            tags: Gives the tags of an old value, from it and the loader's arguments, where the loader's own
                don't: `cache.tags` of a `ResponseCache`.

        Raises:
            UsageError: It gives its results one by one.
        """
        if inspect.isasyncgenfunction(load):
            raise UsageError(f"{load.__qualname__} gives its results one by one: no old entry has these")
        known: Any = self._standing.get(load)
        if known is not None:
            return cast("Callable[P, Awaitable[R]]", known)

        @wraps(load)
        async def load_old(*args: P.args, **kwargs: P.kwargs) -> R:
            under_way = None if self.over else load_of(load_old)
            if under_way is not None and _misses(under_way[1]):
                flight, needed = under_way
                name = None if isinstance(self._names, str) else self._names(*args, **kwargs)
                give = _tags_by(tags, needed, load_old, args, kwargs)
                found = await self.take(*needed.name, name=name, into=returned_by(load), tags=give)
                if found is not None:
                    flight.fresh_at_most = found.seconds
                    return cast("R", found.value)
            return await load(*args, **kwargs)

        if tags is None and find_by_function(load) is not None:  # of these there are few, and they stay
            stand_for(load_old, load)
            self._standing[load] = load_old
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
        found = None if self.over else await self.take(cache_type, key, name=name, into=into, tags=tags)
        if found is None:
            return default
        value, seconds, tagged = found
        if await self._manager.set(cache_type, key, value, ttl=seconds, tags=tagged, if_absent=True):
            return value
        return await self._manager.get(cache_type, key, value, into=into)  # somebody was faster

    async def take(
        self,
        cache_type: str,
        key: str,
        *,
        name: str | None = None,
        into: Any = Any,
        tags: TagFunction | None = None,
    ) -> OldEntry | None:
        """Remove an old entry and return it, for the caller to store; None where there is none to be used.

        Args:
            cache_type: Its type here.
            key: Its key here.
            name: Its name there, where `names` can't be told from the key.
            into: The type to decode into.
            tags: Gives the tags of its value: one that was invalidated since the switch refuses it.

        Raises:
            UsageError: The key can't be used, or has no name.
        """
        policy, name = self._manager.policy(cache_type), self._name(cache_type, check_key(key), name)
        if self.over or (switch := await self._note.find()) is None:
            return None
        left = switch.at + policy.ttl - time.time()  # without any, what there is, is too old for the type
        if left <= 0 or (found := await self._fetch(name, policy)) is None:
            return None
        data, seconds = found
        try:
            value = self._decoded(data, into, policy)
            tagged = encode_tags(() if tags is None else tags(value))
        except Exception as error:  # noqa: BLE001  users' functions raise what they like
            self._count_undecodable(cache_type, error)
            return None
        if not self._note.spares(cache_type, key, tagged, switch, policy):
            self.counts.refused += 1
            return None
        self.counts.taken += 1
        self._remove(name)
        return OldEntry(value, min(left, seconds), tuple(tag.decode() for tag in tagged))

    # -- the older cache --------------------------------------------------------------------------

    def _name(self, cache_type: str, key: str, name: str | None) -> str:
        if name is not None:
            check_text("an old entry's name", name)
            return name
        if not isinstance(self._names, str):
            raise UsageError("name: which old entry? `names` is a function of a loader's arguments")
        return self._names.replace("{type}", cache_type).replace("{key}", key)

    async def _link(self) -> Link:
        if self._own_link is None:
            return self._manager.link
        if not self._own_link.connections:
            await self._own_link.connect()
        return self._own_link

    async def _fetch(self, name: str, policy: Policy) -> tuple[bytes, float] | None:
        """The bytes of an old entry, one more than it may have at most, and the seconds it has left."""
        data: Any = b""
        left_ms: Any = -2
        with contextlib.suppress(LinkError):
            link = await self._link()
            data, left_ms = await link.calls([("GETRANGE", name, 0, policy.max_entry), ("PTTL", name)])
        if not isinstance(data, bytes) or not data or not isinstance(left_ms, int) or left_ms in {-2, 0}:
            self.counts.absent += 1  # also what is of another kind, gone in between, or out of reach
            return None
        return data, math.inf if left_ms < 0 else left_ms / 1000

    def _remove(self, name: str) -> None:
        if self._keep:
            return
        link = self._own_link or self._manager.link
        with contextlib.suppress(LinkError):  # else it expires by itself
            link.post(("UNLINK", name), _ignore)

    def _decoded(self, data: bytes, into: Any, policy: Policy) -> Any:
        most = policy.max_entry
        if len(data) > most:
            raise EntryError(f"more than {most} bytes")
        if callable(self._decode):
            return self._decode(data)
        if self._decode == "bytes":
            return data
        if self._decode == "text":
            return data.decode()
        if self._decode == "zlib" and data[:1] == b"\x78":  # no JSON begins so
            expander = zlib.decompressobj()
            data = expander.decompress(data, most)
            if not expander.eof:
                raise EntryError(f"cut off, or decompresses to more than {most} bytes")
        return decode_payload(_JSON, data, into, most)

    def _count_undecodable(self, cache_type: str, error: Exception) -> None:
        self.counts.undecodable += 1
        self._manager.counters.of(cache_type).undecodable += 1
        if self.counts.undecodable == 1:
            logger.warning(
                "action=old_entry_undecodable cache_type=%s reason=%s",
                cache_type,
                type(error).__name__,  # its text may hold the value
                extra={"action": "old_entry_undecodable"},
            )

    def _id(self) -> str:
        names: Any = self._names
        text = names if isinstance(names, str) else f"{names.__module__}.{names.__qualname__}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _misses(needed: Load) -> bool:
    """Whether nothing is stored: what is refreshed, or warmed, is younger than any old entry."""
    return needed.lookup is not None and needed.lookup.entry is None


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


def _link_to(url: str, manager: CacheManager) -> Link:
    ours = manager.config.redis
    there = RedisConfig(url=url, connect_timeout=ours.connect_timeout, timeout=ours.timeout)
    return make_link(there, manager.keys)


def _ignore(_reply: Any) -> None:
    """It was there, or it was gone."""
