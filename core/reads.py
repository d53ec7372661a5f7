"""Reads: with a loader or without, of one key or of many."""

from __future__ import annotations

import time
from asyncio import get_running_loop
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar, overload

from stoker.core.counters import SAMPLE_EVERY, TypeCounters
from stoker.core.entries.codec import MISSING
from stoker.core.entries.lookup import EntryState, Lookup, State
from stoker.core.keys import check_key, several
from stoker.core.linking import residence
from stoker.core.loading.batches import Batch
from stoker.core.loading.conditional import NotModified
from stoker.core.loading.flights import Loaded
from stoker.core.loading.loaders import find, find_by_function
from stoker.core.loading.loads import Load
from stoker.core.loading.serving import Reading
from stoker.core.log.position import START
from stoker.core.marks import Marks, marks_here
from stoker.core.parts import Parts
from stoker.core.recipe import Recipe
from stoker.core.settings.policy import check_ttl

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
D = TypeVar("D")

#: What is looked up without being counted is counted here.
_UNCOUNTED = TypeCounters()


class Reads(Parts):
    """What a `CacheManager` can be asked for."""

    @overload
    def get(
        self, cache_type: str, key: str, default: None = None, *, into: type[T], track_stats: bool = True
    ) -> Coroutine[Any, Any, T | None]: ...

    @overload
    def get(
        self, cache_type: str, key: str, default: D, *, into: type[T], track_stats: bool = True
    ) -> Coroutine[Any, Any, T | D]: ...

    @overload
    def get(
        self, cache_type: str, key: str, default: Any = None, *, into: Any = Any, track_stats: bool = True
    ) -> Coroutine[Any, Any, Any]: ...

    # No `async def`: see `marks`.
    def get(
        self, cache_type: str, key: str, default: Any = None, *, into: Any = Any, track_stats: bool = True
    ) -> Coroutine[Any, Any, Any]:
        """Return the value of a key, or `default`.

        A miss leaves a mark, so that a `set` of what is then computed is as safe as a load. Stale entries
        are a miss here: only `get_or_load` can load them again. Memory answers when this is called, the
        server when it is awaited: what is kept to be awaited later may be older than memory's bound.

        Args:
            cache_type: The key's type.
            key: The key.
            default: What a miss answers; a stored `None` is no miss.
            into: The type to decode into: a dataclass, a msgspec Struct, a pydantic model.
            track_stats: Whether it is counted: in statistics, in metrics, towards hot keys.
        """
        if not track_stats:
            return self._get(marks_here(), cache_type, key, default, into, TypeCounters())
        if cache_type in self._in_memory:
            try:
                value = self.memory.hit(cache_type, key, into)
            except TypeError:
                check_key(key)  # what can't be hashed is no key
                raise
            if value is not MISSING:
                return _given(value)
        return self._get(marks_here(), cache_type, key, default, into)

    async def _get(
        self,
        marks: Marks,
        cache_type: str,
        key: str,
        default: Any,
        into: Any,
        uncounted: TypeCounters | None = None,
    ) -> Any:
        policy, counters = self._types.get(cache_type) or self._type(cache_type)
        check_key(key)
        if uncounted is None:
            self.access.append((cache_type, key, None))
        else:
            counters = uncounted
        if cache_type in self._in_memory:
            value = await self.storage.read(cache_type, key, into, policy, counters)
        else:
            tier, began = self.tier, 0.0 if counters.hits % SAMPLE_EVERY else time.perf_counter()
            future = tier.ask(cache_type, key, policy, get_running_loop())
            sent = tier.sent
            reply = await future
            value = tier.plain_value(reply, sent, into)
            if value is MISSING:
                value = await self.storage.read_on(reply, sent, cache_type, key, into, policy, counters)
            if began:
                counters.durations["get"].observe(time.perf_counter() - began)
        if value is not MISSING:
            counters.hits += 1
            return value
        counters.misses += 1
        born = await self.log.birth(policy.settle) if policy.settle else self.log.seen
        marks.leave(self._owner, cache_type, key, self.log.epoch, born)
        return default

    @overload
    def get_many(
        self, cache_type: str, keys: Iterable[str], *, into: type[T]
    ) -> Coroutine[Any, Any, dict[str, T]]: ...

    @overload
    def get_many(
        self, cache_type: str, keys: Iterable[str], *, into: Any = Any
    ) -> Coroutine[Any, Any, dict[str, Any]]: ...

    def get_many(
        self, cache_type: str, keys: Iterable[str], *, into: Any = Any
    ) -> Coroutine[Any, Any, dict[str, Any]]:
        """Return the values of the keys that have one, in one round trip for all.

        Misses leave marks, as those of `get` do.

        Args:
            cache_type: The keys' type.
            keys: The keys; each is read once.
            into: The type to decode each into.

        Raises:
            UsageError: A key can't be used, or a text was given where several keys are expected.
        """
        return self._get_many(marks_here(), cache_type, keys, into)

    async def _get_many(
        self, marks: Marks, cache_type: str, keys: Iterable[str], into: Any
    ) -> dict[str, Any]:
        policy, counters = self.policy(cache_type), self.counters.of(cache_type)
        wanted = list(_each_once(keys))
        self.access.extend([(cache_type, key, None) for key in wanted])
        found = await self.storage.read_many(cache_type, wanted, into, policy, counters)
        if len(found) < len(wanted):
            born = await self.log.birth(policy.settle) if policy.settle else self.log.seen
            epoch = self.log.epoch
            for key in wanted:
                if key not in found:
                    marks.leave(self._owner, cache_type, key, epoch, born)
        counters.hits += len(found)
        counters.misses += len(wanted) - len(found)
        return found

    async def exists(self, cache_type: str, key: str) -> bool:
        """Say whether a key has a fresh value; no read is counted, no value decoded."""
        return await self.ttl(cache_type, key) is not None

    async def ttl(self, cache_type: str, key: str) -> float | None:
        """Return the seconds that a key's value stays fresh; None where there is none."""
        policy = self.policy(cache_type)
        lookup = await self.storage.look_up(cache_type, check_key(key), policy, _UNCOUNTED)
        if lookup.state is not State.FRESH or lookup.entry is None:
            return None
        return max(lookup.entry.fresh_until_ms / 1000 - time.time(), 0.0)

    async def get_or_load(
        self,
        cache_type: str,
        key: str,
        load: Callable[P, Awaitable[R | NotModified]],
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
                keep its hot keys warm. It may answer `NOT_MODIFIED`: what `previous()` gave it is kept.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Raises:
            Exception: Whatever the loader raises, where there is nothing else to answer with.
        """
        return (await self.read(cache_type, key, load, *args, **kwargs)).value

    async def read(
        self,
        cache_type: str,
        key: str,
        load: Callable[P, Awaitable[R | NotModified]],
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
        recipe = None if spec is None else spec.recipe(args, kwargs)
        self.access.append((cache_type, check_key(key), recipe))
        needed = Load(cache_type, key, load, args, kwargs, spec)
        return await self.serving.read(needed, policy, counters)

    async def get_or_load_many(
        self,
        cache_type: str,
        keys: Iterable[str],
        load_many: Callable[[list[str]], Awaitable[Mapping[str, R]]],
        *,
        tags: Callable[[R], Iterable[str]] | None = None,
        ttl: float | None = None,
    ) -> dict[str, R]:
        """Return the values of keys; load all that are missing with one call, in one process of the fleet.

        A key that is being loaded already, here or elsewhere, is waited for; all others are loaded together.
        What those who were waited for had nothing for is loaded by a second call.

        Args:
            cache_type: The keys' type.
            keys: The keys; each is read once.
            load_many: An async function of the list of missing keys that returns their values by key. A key
                that it leaves out has no value: it is not stored, and not in the answer. (Return `None` for
                it to have "there is no such thing" stored.) Hits are decoded into what it is annotated to
                return.
            tags: Gives the tags of a loaded value.
            ttl: Seconds that loaded values are fresh; the type's where not given.

        Raises:
            UsageError: `load_many` returned no mapping of keys to values.
            Exception: Whatever `load_many` raises, where there is nothing else to answer with for some key.
        """
        policy, counters = self.policy(cache_type), self.counters.of(cache_type)
        if ttl is not None:
            check_ttl(ttl)
        wanted = dict.fromkeys(_each_once(keys), Lookup(State.ABSENT))
        self.access.extend([(cache_type, key, None) for key in wanted])
        return await self.serving.read_many(Batch(cache_type, load_many, tags, ttl, wanted), policy, counters)

    async def peek(self, cache_type: str, keys: Sequence[str]) -> list[EntryState | None]:
        """Say of each key how its entry stands, without its value and without counting a read.

        Raises:
            LinkError: The server can't be reached.
        """
        policy, checked = self.policy(cache_type), [check_key(key) for key in several("keys", keys)]
        return await self.tier.peek(cache_type, checked, policy)

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
        spec = find(recipe.loader, cache_type, residence(self, self.config))
        await self.log.catch_up()
        load = Load(cache_type, key, spec.function, recipe.args, recipe.kwargs, spec, killer, warms=True)
        return await self._loads.run(load)


def _each_once(keys: Iterable[str]) -> dict[str, None]:
    """The keys of a batch, checked."""
    return dict.fromkeys([check_key(key) for key in several("keys", keys)])


async def _given(value: Any) -> Any:
    """A read that was answered when it was called."""
    return value
