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

`set(nx=True)` is `set(if_absent=True)`; `InMemoryCache` is `MemoryCache`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, Protocol, TypeVar

from stoker.core.loading.conditional import NotModified

P = ParamSpec("P")
R = TypeVar("R")


class _Living(Protocol):
    def connect(self) -> Coroutine[Any, Any, bool]: ...

    def close(self, timeout: float = 5.0) -> Coroutine[Any, Any, None]: ...

    @property
    def client(self) -> Any: ...


class LifeAliases:
    """Other names of connecting and closing, and of the raw client."""

    def initialize(self: _Living) -> Coroutine[Any, Any, bool]:
        """`connect`."""
        return self.connect()

    def disconnect(self: _Living, timeout: float = 5.0) -> Coroutine[Any, Any, None]:
        """`close`."""
        return self.close(timeout)

    @property
    def redis(self: _Living) -> Any:
        """`client`."""
        return self.client


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

    def ttl(self, cache_type: str, key: str) -> Coroutine[Any, Any, float | None]: ...


class ManagerAliases:
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

    def get_ttl(self: _Managing, cache_type: str, key: str) -> Coroutine[Any, Any, float | None]:
        """`ttl`."""
        return self.ttl(cache_type, key)


class _Keyed(Protocol):
    def ttl(self, key: str) -> Coroutine[Any, Any, float | None]: ...

    def clear(self) -> Coroutine[Any, Any, bool]: ...

    def hash_key(self, data: Any) -> str: ...


class KeyedAliases:
    """Other names of what any cache by key alone does."""

    def get_ttl(self: _Keyed, key: str) -> Coroutine[Any, Any, float | None]:
        """`ttl`."""
        return self.ttl(key)

    def clear_namespace(self: _Keyed) -> Coroutine[Any, Any, bool]:
        """`clear`."""
        return self.clear()

    def _hash_key(self: _Keyed, data: Any) -> str:
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
