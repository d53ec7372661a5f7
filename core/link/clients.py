"""Clients of redis-py for what needs a connection of its own: of a server, a cluster, or behind sentinels."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import redis
import redis.asyncio
from redis.exceptions import RedisClusterException

from stoker.core.settings.addresses import Servers

# Parts of redis-py are not typed.
_blocking: Any = redis
_async: Any = redis.asyncio


class _AsyncCluster(redis.asyncio.RedisCluster):
    """A client whose errors are those of any other: redis-py's own for clusters are of another family."""

    async def initialize(self, *args: Any, **kwargs: Any) -> Any:
        """Learn which servers there are."""
        try:
            return await super().initialize(*args, **kwargs)
        except RedisClusterException as error:
            raise redis.ConnectionError(str(error)) from error


class _AsyncBehindSentinels(redis.asyncio.Redis):
    """A client that closes its connections to the sentinels too."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close all connections."""
        await super().aclose(close_connection_pool)
        pool: Any = self.connection_pool
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


class _BehindSentinels(redis.Redis):
    """The same for code without an event loop."""

    def close(self) -> None:
        """Close all connections."""
        super().close()
        pool: Any = self.connection_pool
        for sentinel in pool.sentinel_manager.sentinels:
            sentinel.close()


class _BlockingCluster:
    """A client that connects when it is first used (redis-py's does as it is made), with ordinary errors."""

    def __init__(self, make: Callable[[], Any], made: Any = None) -> None:
        self._make = make
        self._made = made

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._made is None and name == "close":
                return None
            try:
                self._made = self._made or self._make()
                found = getattr(self._made, name)(*args, **kwargs)
            except RedisClusterException as error:
                raise redis.ConnectionError(str(error)) from error
            return _BlockingCluster(self._make, found) if name == "pipeline" else found

        return call

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def async_client(url: str, **options: Any) -> Any:
    """A client for an event loop; `options` are redis-py's.

    On a cluster, commands go where their key is; a transaction needs all its keys in one slot.
    """
    servers = Servers.of(url)
    options["protocol"] = 2
    if servers.kind == "server":
        return _async.Redis.from_url(url, **options)
    given = asked_for(servers.at(*servers.hosts[0])) | options
    if servers.kind == "cluster":
        nodes = [_async.cluster.ClusterNode(*place) for place in servers.hosts]
        return _AsyncCluster(startup_nodes=nodes, **given)
    sentinels = _async.sentinel.Sentinel(servers.hosts, sentinel_kwargs=_of_sentinels(servers, options))
    return sentinels.master_for(servers.service, redis_class=_AsyncBehindSentinels, **given)


def blocking_client(url: str, **options: Any) -> Any:
    """The same for code without an event loop."""
    servers = Servers.of(url)
    options["protocol"] = 2
    if servers.kind == "server":
        return _blocking.Redis.from_url(url, **options)
    given = asked_for(servers.at(*servers.hosts[0])) | options
    if servers.kind == "cluster":
        nodes = [_blocking.cluster.ClusterNode(*place) for place in servers.hosts]
        return _BlockingCluster(lambda: _blocking.RedisCluster(startup_nodes=nodes, **given))
    sentinels = _blocking.sentinel.Sentinel(servers.hosts, sentinel_kwargs=_of_sentinels(servers, options))
    return sentinels.master_for(servers.service, redis_class=_BehindSentinels, **given)


def asked_for(url: str) -> dict[str, Any]:
    """What a server's URL asks for beside the place, as redis-py names it: user, database, certificates."""
    parsed: dict[str, Any] = _blocking.connection.parse_url(url)
    given = {name: value for name, value in parsed.items() if name not in {"host", "port"}}
    if given.pop("connection_class", None) is not None:
        given["ssl"] = True
    return given


def _of_sentinels(servers: Servers, options: dict[str, Any]) -> dict[str, Any]:
    """How sentinels are connected to: with a user of their own, as patiently as the server."""
    alike = ("socket_timeout", "socket_connect_timeout", "retry", "protocol")
    limits = {name: options[name] for name in alike if options.get(name) is not None}
    return asked_for(servers.sentinel_at(*servers.hosts[0])) | limits
