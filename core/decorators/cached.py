"""`@cached`: the results of a function, by its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from stoker.core.decorators.answering import ManagerAnswering, OpenedAnswering, StoreAnswering
from stoker.core.decorators.cached_function import CachedFunction, SyncCachedFunction
from stoker.core.decorators.default_cache import RESULTS, OwnCache
from stoker.core.decorators.keyed import Terms, check_function
from stoker.core.decorators.places import AsyncPlace, SyncPlace, place_of
from stoker.core.errors import UsageError
from stoker.core.keys import several
from stoker.core.loading.conditional import NotModified
from stoker.core.loading.loaders import returns_awaitable
from stoker.core.manager import CacheManager
from stoker.core.settings.config import CacheConfig
from stoker.core.sync.manager import SyncCacheManager
from stoker.core.sync.view import SyncCache
from stoker.core.view import Cache
from stoker.core.vocabulary import CacheBackend

P = ParamSpec("P")
R = TypeVar("R")


class AsyncDecorator(Protocol):
    """Decorates an async function."""

    def __call__(self, function: Callable[P, Awaitable[R | NotModified]], /) -> CachedFunction[P, R]:
        """Return the function, cached."""
        ...


class SyncDecorator(Protocol):
    """Decorates a plain function."""

    def __call__(self, function: Callable[P, R], /) -> SyncCachedFunction[P, R]:
        """Return the function, cached."""
        ...


class Decorator(Protocol):
    """Decorates a function, async or plain."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[P, Awaitable[R | NotModified]], /
    ) -> CachedFunction[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> SyncCachedFunction[P, R]: ...


@overload
def cached(
    cache: AsyncPlace,
    prefix: str | None = None,
    *,
    cache_type: str | None = None,
    ttl: float | None = None,
    namespace: str | None = None,
    key_params: Iterable[str] | None = None,
    ignore: Iterable[str] | None = None,
    tags: Callable[[Any], Iterable[str]] | None = None,
    version: int = 1,
) -> AsyncDecorator: ...


@overload
def cached(
    cache: SyncPlace,
    prefix: str | None = None,
    *,
    cache_type: str | None = None,
    ttl: float | None = None,
    namespace: str | None = None,
    key_params: Iterable[str] | None = None,
    ignore: Iterable[str] | None = None,
    tags: Callable[[Any], Iterable[str]] | None = None,
    version: int = 1,
) -> SyncDecorator: ...


@overload
def cached(
    *,
    cache_type: str | None = None,
    ttl: float | None = None,
    namespace: str | None = None,
    key_params: Iterable[str] | None = None,
    ignore: Iterable[str] | None = None,
    tags: Callable[[Any], Iterable[str]] | None = None,
    version: int = 1,
    backend: CacheBackend | str | None = None,
    config: CacheConfig | Mapping[str, Any] | None = None,
    **options: Any,
) -> Decorator: ...


def cached(
    cache: AsyncPlace | SyncPlace | None = None,
    prefix: str | None = None,
    *,
    cache_type: str | None = None,
    ttl: float | None = None,
    namespace: str | None = None,
    key_params: Iterable[str] | None = None,
    ignore: Iterable[str] | None = None,
    tags: Callable[[Any], Iterable[str]] | None = None,
    version: int = 1,
    backend: CacheBackend | str | None = None,
    config: CacheConfig | Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Cache a function's results by its arguments.

    Calls with equal arguments share one load, in the process and across the fleet; what is hot is kept warm
    by the worker if it imports the module. The function keeps its signature, and gains `key`, `invalidate`
    and `invalidate_all`.

    ```python
    @cached(cache=manager, cache_type="db_query", ttl=60)
    async def find_user(user_id: int) -> User: ...

    @cached(manager.cache("db_query"), "users", key_params=["user_id"])
    async def find_user(user_id: int, trace: str = "") -> User: ...

    @cached(ttl=3600, namespace="api", backend="memory")
    async def find_user(user_id: int) -> User: ...
    ```

    Args:
        cache: A manager, a view on one type of it, a store of your own, or, for plain functions, a
            `SyncCacheManager` or a view of it. Without one the function uses the default cache of the event
            loop that calls it, or opens a cache of its own at the first call.
        prefix: The namespace, written as a second argument.
        cache_type: The type that results are cached under; a view brings its own, and what is opened has
            one called `cache`.
        ttl: Seconds that results are fresh; the type's where not given.
        namespace: What keys begin with, before the name of the function: `invalidate_on_write` names it.
        key_params: The parameters that tell calls apart; all of them where not given.
        ignore: Parameters that don't tell calls apart. A call that gives one, or one that is not in
            `key_params`, is not warmed: nothing of its arguments is kept.
        tags: Gives the tags of a result.
        version: A whole number, to be raised when results of an older version of the function must not be
            used any more.
        backend: Where a cache that is opened keeps results: `memory`, `redis`, or `multi_layer` for both.
        config: The configuration of a cache that is opened, or the fields of one; `stoker.yaml` and the
            environment where not given.
        **options: Fields of its configuration.

    Raises:
        UsageError: There is no type, or no such type, or a parameter is named that is none; a configuration
            or its fields can't be used; the function is of a kind that this cache can't serve, a lambda
            without a namespace, or has the name of a different one that this cache knows.
    """
    if prefix is not None and namespace is not None:
        raise UsageError("prefix and namespace are two words for one thing: write one of them")
    space = prefix if namespace is None else namespace
    terms = (space, ttl, _kept("key_params", key_params), _kept("ignore", ignore), tags, version)
    if cache is not None:
        given = {"backend": backend, "config": config, **options}
        if unused := [name for name, value in given.items() if value is not None]:
            raise UsageError(f"a cache was given, and none is opened that could use {', '.join(unused)}")
        kind, begin = place_of(cache, cache_type, "@cached")
        return _Decorator(Terms(kind, begin, *terms), cache)
    if config is not None and options:
        raise UsageError(f"write into config what is given beside it: {', '.join(options)}")
    kind = cache_type or RESULTS
    return _Decorator(Terms(kind, "", *terms), OwnCache(backend, config or options or None, kind))


class _Decorator:
    """Decorates functions whose results one cache keeps."""

    def __init__(self, terms: Terms, place: AsyncPlace | SyncPlace | OwnCache) -> None:
        self._terms = terms
        self._place = place

    def __call__(self, function: Callable[..., Any], /) -> Any:
        check_function(function)
        return self._decorate(function)

    def _decorate(
        self, function: Callable[..., Any]
    ) -> CachedFunction[..., Any] | SyncCachedFunction[..., Any]:
        place, terms = self._place, self._terms
        is_async, name = inspect.iscoroutinefunction(function), function.__qualname__
        if not is_async and returns_awaitable(function):
            raise UsageError(
                f"{name} returns what is to be awaited: write it as `async def`, and await it there"
            )
        if isinstance(place, SyncCacheManager | SyncCache):
            if is_async:
                raise UsageError(
                    f"{name} is async, and this cache is for plain functions: use a CacheManager"
                )
            face = place.face if isinstance(place, SyncCache) else place
            return SyncCachedFunction(function, terms, face.perform, face)
        if isinstance(place, OwnCache):
            if is_async:
                return CachedFunction(
                    function, terms, lambda spec: OpenedAnswering(place.open, spec), OwnCache
                )
            return SyncCachedFunction(function, terms, place.perform, OwnCache)
        if not is_async:
            raise UsageError(
                f"{name} is a plain function, and this cache is for async ones: use a SyncCacheManager"
            )
        if isinstance(place, CacheManager | Cache):
            manager = place.manager if isinstance(place, Cache) else place
            return CachedFunction(function, terms, lambda spec: ManagerAnswering(manager, spec), manager)
        return CachedFunction(function, terms, lambda spec: StoreAnswering(place, spec), place)


def _kept(what: str, names: Iterable[str] | None) -> tuple[str, ...] | None:
    """Keep names for more than one function."""
    return None if names is None else tuple(several(f"names in {what}", names))
