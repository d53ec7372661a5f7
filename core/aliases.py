"""The other names under which older systems knew methods: all of them are here, and hold no logic.

| name | is |
|---|---|
| `initialize`, `disconnect` | `connect`, `close` |
| `get_or_set` | `get_or_load` |
| `get_ttl` | `ttl` |
| `clear_namespace` | `clear` |
| `_hash_key` | `hash_key` |
| `redis` | `client` |
| `generate_cache_key`, `_generate_cache_key` | `key` of a request |
| `get_cache_stats` of results by text | `get_stats` |

`CacheStats.cached_responses` is its `cached_keys`; `set(nx=True)` is `set(if_absent=True)`; `InMemoryCache`
is `MemoryCache`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from stoker.core.loading.conditional import NotModified

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class _Connecting(Protocol[T_co]):
    def connect(self) -> T_co: ...


class _Closing(Protocol[T_co]):
    def close(self, timeout: float = 5.0) -> T_co: ...


class _Reached(Protocol):
    @property
    def client(self) -> Any: ...


class _LifeNames:
    """Other names of connecting and closing."""

    def initialize(self: _Connecting[T]) -> T:
        """`connect`."""
        return self.connect()

    def disconnect(self: _Closing[T], timeout: float = 5.0) -> T:
        """`close`."""
        return self.close(timeout)


class LifeAliases(_LifeNames):
    """Other names of connecting and closing, and of the raw client."""

    @property
    def redis(self: _Reached) -> Any:
        """`client`."""
        return self.client


class _Aging(Protocol[T_co]):
    def ttl(self, cache_type: str, key: str) -> T_co: ...


class _ManagerNames:
    """Other names of what a manager does, with `await` or without."""

    def get_ttl(self: _Aging[T], cache_type: str, key: str) -> T:
        """`ttl`."""
        return self.ttl(cache_type, key)


class _Managing(Protocol):
    def get_or_load(
        self,
        cache_type: str,
        key: str,
        load: Callable[P, Awaitable[R | NotModified]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, R]: ...


class ManagerAliases(_ManagerNames):
    """Other names of what a manager does."""

    def get_or_set(
        self: _Managing,
        cache_type: str,
        key: str,
        load: Callable[P, Awaitable[R | NotModified]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, R]:
        """`get_or_load`."""
        return self.get_or_load(cache_type, key, load, *args, **kwargs)


class _SyncManaging(Protocol):
    def get_or_load(
        self, cache_type: str, key: str, load: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any: ...


class SyncManagerAliases(_LifeNames, _ManagerNames):
    """Other names of what a manager does for callers without an event loop."""

    @overload
    def get_or_set(
        self: _SyncManaging,
        cache_type: str,
        key: str,
        load: Callable[P, Awaitable[R | NotModified]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R: ...

    @overload
    def get_or_set(
        self: _SyncManaging,
        cache_type: str,
        key: str,
        load: Callable[P, R | NotModified],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R: ...

    def get_or_set(
        self: _SyncManaging, cache_type: str, key: str, load: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        """`get_or_load`."""
        return self.get_or_load(cache_type, key, load, *args, **kwargs)


class _Expiring(Protocol[T_co]):
    def ttl(self, key: str) -> T_co: ...


class _Clearing(Protocol[T_co]):
    def clear(self) -> T_co: ...


class _Hashing(Protocol):
    def hash_key(self, data: Any) -> str: ...


class KeyedAliases:
    """Other names of what any cache by key alone does, with `await` or without."""

    def get_ttl(self: _Expiring[T], key: str) -> T:
        """`ttl`."""
        return self.ttl(key)

    def clear_namespace(self: _Clearing[T]) -> T:
        """`clear`."""
        return self.clear()

    def _hash_key(self: _Hashing, data: Any) -> str:
        """`hash_key`."""
        return self.hash_key(data)


class _Viewing(Protocol):
    def get_or_load(
        self, key: str, load: Callable[P, Awaitable[R | NotModified]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...


class ViewAliases:
    """Other names of what a view does."""

    def get_or_set(
        self: _Viewing,
        key: str,
        load: Callable[P, Awaitable[R | NotModified]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, R]:
        """`get_or_load`."""
        return self.get_or_load(key, load, *args, **kwargs)


class _SyncViewing(Protocol):
    def get_or_load(self, key: str, load: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any: ...


class SyncViewAliases(KeyedAliases):
    """Other names of what a view does for callers without an event loop."""

    @overload
    def get_or_set(
        self: _SyncViewing,
        key: str,
        load: Callable[P, Awaitable[R | NotModified]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R: ...

    @overload
    def get_or_set(
        self: _SyncViewing, key: str, load: Callable[P, R | NotModified], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...

    def get_or_set(
        self: _SyncViewing, key: str, load: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Any:
        """`get_or_load`."""
        return self.get_or_load(key, load, *args, **kwargs)


class _Counting(Protocol[T_co]):
    def get_stats(self) -> T_co: ...


class ResultAliases:
    """Other names of what a cache of results by text does."""

    def get_cache_stats(self: _Counting[T]) -> T:
        """`get_stats`."""
        return self.get_stats()


class _Requested(Protocol):
    def key(self, request: Any) -> str: ...


class RequestAliases:
    """Other names of what a cache of responses does."""

    def generate_cache_key(self: _Requested, request: Any) -> str:
        """`key`."""
        return self.key(request)

    def _generate_cache_key(self: _Requested, request: Any) -> str:
        """`key`."""
        return self.key(request)
