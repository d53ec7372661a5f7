"""`CacheManager`: typed caches over Redis, for any asyncio service."""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from stoker.core.commits import Commits
from stoker.core.config import CacheConfig
from stoker.core.counters import Counters
from stoker.core.entry import encode_tags
from stoker.core.errors import UsageError
from stoker.core.flights import Loaded
from stoker.core.keys import Keys, check_key, check_text
from stoker.core.link import Link
from stoker.core.loaders import Recipe, find, find_by_function
from stoker.core.loads import Load, Loads
from stoker.core.log import InvalidationLog, Receipt
from stoker.core.marks import drop_mark, leave_mark, take_mark
from stoker.core.policy import Policy, check_ttl
from stoker.core.position import START
from stoker.core.recording import Recording
from stoker.core.scopes import Key, Pattern, Scope, Tag, Type
from stoker.core.serving import Reading, Serving
from stoker.core.storage import MISSING, Storage
from stoker.core.tier import EntryState, RedisTier, State

P = ParamSpec("P")
R = TypeVar("R")

#: Reads that wait to be counted towards the hot keys; when more come, the oldest are not counted.
MAX_ACCESSES = 100_000

#: Numbers the managers of a process, for their marks.
_OWNERS = itertools.count(1)


class CacheManager:
    """The caches of one process.

    ```python
    async with CacheManager(CacheConfig()) as cache:
        product = await cache.get_or_load("product", "42", load_product, 42)
    ```

    Trouble with the cache never breaks the caller: `get` misses, `set` answers False, loads go on.
    Use it from one event loop.

    Args:
        config: Where the server is, and what the cache types are.
        process: Names this process in metrics; host and process id where not given.
        recording: Whether this process's reads count towards hot keys and hit rates.
        read_only: For looking: nothing is recorded, and no epoch of the log is opened where there is none.
    """

    def __init__(
        self,
        config: CacheConfig | None = None,
        *,
        process: str | None = None,
        recording: bool = True,
        read_only: bool = False,
    ) -> None:
        self.config = config or CacheConfig()
        self.read_only = read_only
        self.keys = Keys(self.config.prefix)
        self.process = process or f"{socket.gethostname()}-{os.getpid()}"
        redis = self.config.redis
        self.link = Link(redis.url, connect_timeout=redis.connect_timeout, timeout=redis.timeout)
        self.log = InvalidationLog(self.link, self.keys, read_only=read_only)
        self.counters = Counters()
        self.access: deque[tuple[str, str, Recipe | None]] = deque(maxlen=MAX_ACCESSES)
        self.tier = RedisTier(self.link, self.log, self.keys)
        commits = Commits(self.link, self.log, self.keys)
        self._storage = Storage(self.config, self.tier, commits, self.counters)
        self._loads = Loads(self.config, self._storage, self.log, self.counters)
        self._serving = Serving(self._storage, self._loads)
        self._recording = Recording(self) if recording and not read_only else None
        self._owner = next(_OWNERS)

    # -- life -------------------------------------------------------------------------------------

    async def connect(self) -> bool:
        """Start; say whether the server answered. If not, it is tried again in the background."""
        self.log.kept.open()
        reached = await self.link.connect()
        if self._recording is not None:
            await self._recording.start()
        return reached

    async def close(self, timeout: float = 5.0) -> None:
        """Let loads under way end within `timeout` seconds, hand over what was recorded, disconnect."""
        await self._loads.close(timeout)
        if self._recording is not None:
            await self._recording.stop()
        await self.log.close()
        await self.link.close()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    initialize = connect
    disconnect = close

    def policy(self, cache_type: str) -> Policy:
        """The policy of a cache type.

        Raises:
            UsageError: There is no such type.
        """
        try:
            return self.config.types[cache_type]
        except KeyError:
            known = ", ".join(sorted(self.config.types))
            raise UsageError(f"no cache type is called {cache_type!r}; there are: {known}") from None

    # -- reads ------------------------------------------------------------------------------------

    async def get(self, cache_type: str, key: str, default: Any = None, *, into: Any = Any) -> Any:
        """Return the value of a key, or `default`.

        A miss leaves a mark, so that a `set` of what is then computed is as safe as a load. Stale entries
        are a miss here: only `get_or_load` can load them again.

        Args:
            cache_type: The key's type.
            key: The key.
            default: What a miss answers; a stored `None` is no miss.
            into: The type to decode into: a dataclass, a msgspec Struct, a pydantic model.
        """
        policy = self.policy(cache_type)
        counters = self.counters.of(cache_type)
        self.access.append((cache_type, check_key(key), None))
        lookup = await self._storage.look_up(cache_type, key, policy, counters)
        if lookup.state is State.FRESH:
            value = self._storage.decode(lookup, into, policy, counters)
            if value is not MISSING:
                counters.hits += 1
                drop_mark(self._owner, cache_type, key)
                return value
        counters.misses += 1
        leave_mark(self._owner, cache_type, key, self.log.epoch, self.log.seen)
        return default

    async def get_or_load(
        self,
        cache_type: str,
        key: str,
        load: Callable[P, Awaitable[R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Return the value of a key; on a miss load it, once for all who wait for it.

        A hit is decoded into what `load` is annotated to return. Without an annotation (lambdas and partials
        have none) it is plain data: of a dataclass or a model a dict, of a tuple a list.

        Args:
            cache_type: The key's type.
            key: The key.
            load: An async function. Registered with `@loader` it brings its tags and TTL, and the worker can
                keep its hot keys warm.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Raises:
            Exception: Whatever the loader raises.
        """
        return (await self.read(cache_type, key, load, *args, **kwargs)).value

    get_or_set = get_or_load

    async def read(
        self,
        cache_type: str,
        key: str,
        load: Callable[P, Awaitable[R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Reading[R]:
        """`get_or_load`, and how the value came about: for an `X-Cache` or `Age` header, say.

        Raises:
            Exception: Whatever the loader raises.
        """
        policy = self.policy(cache_type)
        counters = self.counters.of(cache_type)
        spec = find_by_function(load)
        recipe = None if spec is None else Recipe(spec.name, args, kwargs)
        self.access.append((cache_type, check_key(key), recipe))
        needed = Load(cache_type, key, load, args, kwargs, spec)
        return await self._serving.read(needed, policy, counters)

    async def peek(self, cache_type: str, keys: Sequence[str]) -> list[EntryState | None]:
        """Say of each key how its entry stands, without its value and without counting a read.

        Raises:
            LinkError: The server can't be reached.
        """
        policy, checked = self.policy(cache_type), [check_key(key) for key in keys]
        return await self.tier.peek(cache_type, checked, policy)

    # -- loads ------------------------------------------------------------------------------------

    async def reload(self, cache_type: str, key: str, recipe: Recipe, *, killer: int = START) -> Loaded:
        """Load a key by its recipe, whatever is stored, and store the result: what warming does.

        Args:
            cache_type: The key's type.
            key: The key.
            recipe: How to load it.
            killer: Position of the record that killed the old entry, for the log line that follows it.

        Raises:
            UnknownLoaderError: The recipe's loader is not registered here.
            Exception: Whatever the loader raises.
        """
        self.policy(cache_type)
        check_key(key)
        spec = find(recipe.loader)
        await self.log.catch_up()
        load = Load(cache_type, key, spec.function, recipe.args, recipe.kwargs, spec, killer, warms=True)
        return await self._loads.run(load)

    # -- writes -----------------------------------------------------------------------------------

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

    # -- invalidation -----------------------------------------------------------------------------

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
