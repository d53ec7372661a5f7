"""Who takes part in `benchmarks.peers`, and how each does the same work."""

from __future__ import annotations

import functools
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from redis.asyncio import Redis

from benchmarks.measuring import optional, version
from benchmarks.peer_caches import PEERS, TTL_SECONDS, PeerCache
from benchmarks.servers import configuration
from benchmarks.values import value_of
from stoker.core import CacheManager

Kind = Literal["get", "get_many", "set", "set_many", "memory", "decorated"]
Work = Callable[[], Awaitable[None]]
Get = Callable[[str], Awaitable[Any]]

#: Keys that are there, and keys of one batch.
KEYS = 1_000
BATCH = 100

VALUE_BYTES = 1_024

NAMES = [f"product-{number}" for number in range(KEYS)]
RECORDS = {name: value_of(VALUE_BYTES, number) for number, name in enumerate(NAMES)}


@dataclass(frozen=True)
class Cell:
    """One kind of work, and what is asked for of it."""

    kind: Kind
    callers: int
    at_least: float | None = None
    """Times the bare client's rate."""
    at_most_us: float | None = None

    @property
    def wanted(self) -> str:
        """In words."""
        return f">= {self.at_least} x bare" if self.at_least else f"<= {self.at_most_us} us"


class NotBuiltError(Exception):
    """This cache does not have it yet, or the library has no such thing."""


class Contestant(ABC):
    """One way of doing the work."""

    name: str
    kinds: frozenset[Kind] = frozenset(("get", "get_many", "set", "set_many"))

    @abstractmethod
    async def open(self, url: str) -> None:
        """Connect, and store all records."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""

    async def prepare(self, cell: Cell, count: int, chance: random.Random) -> list[Work]:
        """The work of each caller; nothing of it has begun."""
        names = chance.choices(NAMES, k=count)
        share = count // cell.callers
        parts = [names[start : start + share] for start in range(0, share * cell.callers, share)]
        make = getattr(self, f"_{cell.kind}")
        return [functools.partial(make, part) for part in parts]

    @abstractmethod
    async def _get(self, names: Sequence[str]) -> None: ...

    @abstractmethod
    async def _set(self, names: Sequence[str]) -> None: ...

    @abstractmethod
    async def _get_many(self, names: Sequence[str]) -> None: ...

    @abstractmethod
    async def _set_many(self, names: Sequence[str]) -> None: ...


class Bare(Contestant):
    """redis-py's asyncio client as it comes."""

    name = "bare redis-py"

    def __init__(self, **settings: Any) -> None:
        self._settings = settings

    async def open(self, url: str) -> None:  # noqa: D102
        self._client: Redis = Redis.from_url(url, **self._settings)
        self._stored = {f"bare:{name}": msgspec.msgpack.encode(record) for name, record in RECORDS.items()}
        for name, data in self._stored.items():
            await self._client.set(name, data, ex=TTL_SECONDS)

    async def close(self) -> None:  # noqa: D102
        await self._client.aclose()

    async def _get(self, names: Sequence[str]) -> None:
        client = self._client
        for name in names:
            assert await client.get(f"bare:{name}")

    async def _set(self, names: Sequence[str]) -> None:
        client, stored = self._client, self._stored
        for name in names:
            full = f"bare:{name}"
            assert await client.set(full, stored[full], ex=TTL_SECONDS)

    async def _get_many(self, names: Sequence[str]) -> None:
        for start in range(0, len(names), BATCH):
            found: list[Any] = await self._client.mget(
                [f"bare:{name}" for name in names[start : start + BATCH]]
            )
            assert None not in found

    async def _set_many(self, names: Sequence[str]) -> None:
        stored = self._stored
        for start in range(0, len(names), BATCH):
            async with self._client.pipeline(transaction=False) as pipeline:
                queue: Callable[..., Any] = pipeline.set
                for name in names[start : start + BATCH]:
                    full = f"bare:{name}"
                    queue(full, stored[full], ex=TTL_SECONDS)
                await pipeline.execute()


class BareWithoutTimeout(Bare):
    """The same without its limit for each command, which costs a task each."""

    name = "bare redis-py, socket_timeout=None"

    def __init__(self) -> None:
        super().__init__(socket_timeout=None)


class Stoker(Contestant):
    """This project's cache."""

    name = "stoker"
    kinds = frozenset(("get", "get_many", "set", "set_many", "memory", "decorated"))

    async def open(self, url: str) -> None:  # noqa: D102
        types: dict[str, dict[str, Any]] = {
            "item": {"ttl": TTL_SECONDS},
            "hot": {"ttl": TTL_SECONDS, "tiers": ["memory", "redis"]},
        }
        self._manager = CacheManager(configuration(url, types, timeout=5.0), recording=False)
        self._api: Any = self._manager
        await self._manager.connect()
        for name, record in RECORDS.items():
            assert await self._manager.set("item", name, record)

    async def close(self) -> None:  # noqa: D102
        await self._manager.close()

    async def prepare(self, cell: Cell, count: int, chance: random.Random) -> list[Work]:  # noqa: D102
        if cell.kind in {"get_many", "set_many"} and not hasattr(self._api, cell.kind):
            raise NotBuiltError("not built yet")
        if cell.kind == "memory":
            if not hasattr(self._api, "memory"):
                raise NotBuiltError("not built yet")
            for name, record in RECORDS.items():
                assert await self._manager.set("hot", name, record)
        if cell.kind == "decorated":
            self._decorated_function = self._decorate()
        return await super().prepare(cell, count, chance)

    def _decorate(self) -> Callable[[int, str], Awaitable[Any]]:
        cached: Any = getattr(optional("stoker.core"), "cached", None)
        if cached is None:
            raise NotBuiltError("not built yet")

        async def product(number: int, language: str) -> Any:
            return RECORDS[f"product-{number}"] if language else None

        decorate: Any = cached(cache=self._manager, cache_type="hot", ttl=TTL_SECONDS)
        decorated: Callable[[int, str], Awaitable[Any]] = decorate(product)
        return decorated

    async def _get(self, names: Sequence[str]) -> None:
        get = self._manager.get
        for name in names:
            assert await get("item", name)

    async def _set(self, names: Sequence[str]) -> None:
        put = self._manager.set
        for name in names:
            assert await put("item", name, RECORDS[name])

    async def _get_many(self, names: Sequence[str]) -> None:
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            found = await self._api.get_many("item", batch)
            assert len(found) == len(set(batch))

    async def _set_many(self, names: Sequence[str]) -> None:
        for start in range(0, len(names), BATCH):
            batch = {name: RECORDS[name] for name in names[start : start + BATCH]}
            await self._api.set_many("item", batch)

    async def _memory(self, names: Sequence[str]) -> None:
        get = self._manager.get
        for name in names:
            await get("hot", name)

    async def _decorated(self, names: Sequence[str]) -> None:
        await _call_decorated(self._decorated_function, names)


class Dict(Contestant):
    """A coroutine around a dict: what any async interface costs."""

    name = "coroutine around a dict"
    kinds = frozenset(("memory", "decorated"))

    async def open(self, url: str) -> None:  # noqa: ARG002, D102
        self._kept = dict(RECORDS)
        self._by_arguments: dict[tuple[int, str], Any] = {}

    async def close(self) -> None:  # noqa: D102
        self._kept.clear()

    async def _read(self, name: str) -> Any:
        return self._kept.get(name)

    async def _memory(self, names: Sequence[str]) -> None:
        for name in names:
            await self._read(name)

    async def _decorated(self, names: Sequence[str]) -> None:
        kept = self._by_arguments

        async def product(number: int, language: str) -> Any:
            found = kept.get((number, language))
            if found is None:
                found = kept[number, language] = RECORDS[f"product-{number}"]
            return found

        await _call_decorated(product, names)

    async def _get(self, names: Sequence[str]) -> None:
        raise NotImplementedError

    _set = _get_many = _set_many = _get


class Peer(Contestant):
    """Another library's cache in Redis."""

    def __init__(self, kind: type[PeerCache]) -> None:
        self.name = f"{kind.name} {kind.installed()}"
        self._cache = kind()

    async def open(self, url: str) -> None:  # noqa: D102
        await self._cache.open(url)
        for name, record in RECORDS.items():
            await self._cache.set(name, record)
        assert await self._cache.get(NAMES[0]) == RECORDS[NAMES[0]]

    async def close(self) -> None:  # noqa: D102
        await self._cache.close()

    async def _get(self, names: Sequence[str]) -> None:
        for name in names:
            assert await self._cache.get(name)

    async def _set(self, names: Sequence[str]) -> None:
        for name in names:
            await self._cache.set(name, RECORDS[name])

    async def _get_many(self, names: Sequence[str]) -> None:
        for start in range(0, len(names), BATCH):
            await self._cache.get_many(names[start : start + BATCH])

    async def _set_many(self, names: Sequence[str]) -> None:
        for start in range(0, len(names), BATCH):
            batch: Mapping[str, Any] = {name: RECORDS[name] for name in names[start : start + BATCH]}
            await self._cache.set_many(batch)


class PeerInMemory(Contestant):
    """Another library's cache in memory, and its decorator."""

    kinds = frozenset(("memory", "decorated"))

    def __init__(self, module: str) -> None:
        self.name = f"{module} {version(module)}"
        self._module = module
        self._get_one: Get | None = None

    async def open(self, url: str) -> None:  # noqa: ARG002, D102
        module: Any = optional(self._module)

        async def product(number: int, language: str) -> Any:
            return RECORDS[f"product-{number}"] if language else None

        if self._module == "cashews":
            self._cache = module.Cache()
            self._cache.setup("mem://", size=2 * KEYS)
            self._get_one = self._cache.get
            put = functools.partial(self._cache.set, expire=TTL_SECONDS)
            self._function = self._cache(ttl=TTL_SECONDS)(product)
        elif self._module == "aiocache":
            self._cache = module.Cache(module.Cache.MEMORY)
            self._get_one = self._cache.get
            put = functools.partial(self._cache.set, ttl=TTL_SECONDS)
            self._function = module.cached(ttl=TTL_SECONDS)(product)
        else:
            self._function = module.Memoize(2 * KEYS, None)(product)
            return
        for name, record in RECORDS.items():
            await put(name, record)

    async def close(self) -> None:  # noqa: D102
        self._get_one = None

    async def _memory(self, names: Sequence[str]) -> None:
        if self._get_one is None:
            raise NotBuiltError("has no async interface")
        for name in names:
            assert await self._get_one(name)

    async def _decorated(self, names: Sequence[str]) -> None:
        await _call_decorated(self._function, names)

    async def _get(self, names: Sequence[str]) -> None:
        raise NotImplementedError

    _set = _get_many = _set_many = _get


async def _call_decorated(function: Callable[[int, str], Awaitable[Any]], names: Sequence[str]) -> None:
    # Few calls, so that all are hits but the first of each; arguments as services have them.
    for name in names:
        await function(len(name) * 31 % 97, "en")


def contestants(*, with_peers: bool) -> tuple[list[Contestant], list[str]]:
    """Who can take part, and the peers that are not installed."""
    found: list[Contestant] = [Bare(), BareWithoutTimeout(), Stoker(), Dict()]
    absent: list[str] = []
    if with_peers:
        for name, kind in PEERS.items():
            if kind.installed():
                found.append(Peer(kind))
            else:
                absent.append(name)
        for name in ("cashews", "aiocache", "theine"):
            if version(name):
                found.append(PeerInMemory(name))
            elif name not in absent:
                absent.append(name)
    return found, absent
