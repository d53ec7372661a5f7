"""`@cached`: the results of an async function, by its arguments."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from stoker.core.arguments import ArgumentDigest
from stoker.core.codec import MISSING
from stoker.core.conditional import NotModified
from stoker.core.errors import UsageError
from stoker.core.loaders import Recipe, find, loader, returned_by
from stoker.core.loads import Load
from stoker.core.log import Receipt
from stoker.core.manager import CacheManager
from stoker.core.scopes import Key
from stoker.core.view import SEPARATOR, Cache

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


#: The functions made within others whose results a manager caches, by type and what their keys begin with.
_MADE = weakref.WeakKeyDictionary[CacheManager, dict[tuple[str, str], "weakref.ref[Any]"]]()


class CachedFunction(Protocol[P, R_co]):
    """A function whose results are cached: it is called as before."""

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Return the result for the arguments, from the cache where it is there."""
        ...

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key that the result for the arguments is cached under."""
        ...

    async def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        """Invalidate the result for the arguments."""
        ...

    async def invalidate_all(self) -> Receipt:
        """Invalidate the results for all arguments, with one command."""
        ...


def cached(
    *,
    cache: CacheManager | Cache,
    cache_type: str | None = None,
    ttl: float | None = None,
    namespace: str | None = None,
    key_params: Iterable[str] | None = None,
    tags: Callable[[Any], Iterable[str]] | None = None,
    version: int = 1,
) -> Callable[[Callable[P, Awaitable[R | NotModified]]], CachedFunction[P, R]]:
    """Cache an async function's results by its arguments.

    Calls with equal arguments share one load, in the process and across the fleet; what is hot is kept warm
    by the worker if it imports the module. The function keeps its signature.

    ```python
    @cached(cache=manager, cache_type="db_query", ttl=60)
    async def find_user(user_id: int) -> User: ...
    ```

    Args:
        cache: A manager, or a view on one type of it.
        cache_type: The type that results are cached under; a view brings its own.
        ttl: Seconds that results are fresh; the type's where not given.
        namespace: What keys begin with; the function's module and name where not given.
        key_params: The parameters that tell calls apart; all of them where not given.
        tags: Gives the tags of a result.
        version: Raise it when results of an older version of the function must not be used any more.

    Raises:
        UsageError: There is no type, or no such type, or `key_params` names what is no parameter; or one
            function made another of the same name before, and neither has a namespace of its own.
    """
    manager = cache.manager if isinstance(cache, Cache) else cache
    given = cache.cache_type if isinstance(cache, Cache) else cache_type
    if given is None:
        raise UsageError("@cached needs a cache type: write cache_type=…, or cache=manager.cache(…)")
    kind: str = given
    policy = manager.policy(kind)
    begin = cache.key("") if isinstance(cache, Cache) else ""

    def decorate(function: Callable[P, Awaitable[R | NotModified]]) -> CachedFunction[P, R]:
        digest = ArgumentDigest(function, key_params)
        name = f"{function.__module__}.{function.__qualname__}"
        short = begin + (name if namespace is None else namespace)
        prefix = f"{short}.v{version}{SEPARATOR}"
        if namespace is None:
            _refuse_a_second(manager, kind, prefix, function)
        loader(name, cache_type=kind, tags=tags, ttl=ttl)(function)
        spec = find(name)
        hit, access = manager.memory.hit, manager.access
        counters = manager.counters.of(kind)
        in_memory = policy.in_memory and not policy.early  # an early refresh takes a look at the entry's age
        into: Any = MISSING

        def key(*args: P.args, **kwargs: P.kwargs) -> str:
            return prefix + digest(args, kwargs)

        @functools.wraps(function)
        async def call(*args: P.args, **kwargs: P.kwargs) -> R:
            nonlocal into
            name = prefix + digest(args, kwargs)
            if into is MISSING:
                into = returned_by(function)
            if in_memory:
                value = hit(kind, name, into)
                if value is not MISSING:
                    counters.hits += 1
                    counters.memory_hits += 1
                    access.append((kind, name, None))
                    return cast("R", value)
            access.append((kind, name, Recipe(spec.name, args, kwargs)))
            needed = Load(kind, name, function, args, kwargs, spec)
            return cast("R", (await manager.serving.read(needed, policy, counters)).value)

        async def invalidate(*args: P.args, **kwargs: P.kwargs) -> Receipt:
            return await manager.invalidate(Key(kind, key(*args, **kwargs)))

        async def invalidate_all() -> Receipt:
            return await Cache(manager, kind).invalidate_keys(prefix)

        wrapped = cast("Any", call)
        wrapped.key, wrapped.invalidate, wrapped.invalidate_all = key, invalidate, invalidate_all
        return cast("CachedFunction[P, R]", wrapped)

    return decorate


def _refuse_a_second(manager: CacheManager, cache_type: str, prefix: str, function: Any) -> None:
    """Functions that one function makes have one name, and see different variables: they need namespaces."""
    if not getattr(function, "__closure__", None):
        return
    made = _MADE.setdefault(manager, {})
    known = made.setdefault((cache_type, prefix), weakref.ref(function))
    if known() is not function:
        raise UsageError(
            f"another {function.__qualname__} of this cache was made before, and sees other variables: "
            "give each a namespace=… of its own"
        )
