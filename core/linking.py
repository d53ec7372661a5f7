"""Which kind of link a server's URL needs, and what else depends on it.

What needs redis-py, or a cluster alone, is imported when it is needed: importing `stoker.core` stays quick,
and memory alone works where redis-py is not installed.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, cast

from stoker.core.entries.commits import Commits
from stoker.core.keys import Keys
from stoker.core.link.link import Link
from stoker.core.log.assurance import Assurance
from stoker.core.log.fleet_log import InvalidationLog
from stoker.core.log.knowledge import Log
from stoker.core.settings.addresses import Servers, with_parameter, without_login
from stoker.core.settings.config import CacheConfig, RedisConfig

if TYPE_CHECKING:
    from stoker.core.link.cluster import ClusterLink


def residence(keeper: object, config: CacheConfig | None) -> Hashable:
    """Where the entries of a keeper are: the same for all that share them; of what is its own, its number."""
    if config is None or not config.redis.enabled:
        return id(keeper)
    return without_login(config.redis.url), config.prefix


def make_keys(config: CacheConfig) -> Keys:
    """The names of all keys; on a cluster, those that one script needs are in one slot."""
    return Keys(config.prefix, clustered=Servers.of(config.redis.url).kind == "cluster")


def address(redis: RedisConfig) -> str:
    """The URL that connections are opened with; with no keep-alive where none is wanted."""
    has_none = redis.keepalive or redis.url.startswith("unix:")
    return redis.url if has_none else with_parameter(redis.url, "socket_keepalive", "no")


def make_link(redis: RedisConfig, keys: Keys) -> Link:
    """A link to the server, the cluster, or the server that sentinels know of; not connected yet."""
    url, connect_timeout, timeout = address(redis), redis.connect_timeout, redis.timeout
    match Servers.of(url).kind if redis.enabled else "server":
        case "cluster":
            from stoker.core.link.cluster import ClusterLink  # noqa: PLC0415  see above

            log_keys = (keys.log, keys.fence)
            return ClusterLink(url, log_keys, connect_timeout=connect_timeout, timeout=timeout)
        case "sentinel":
            from stoker.core.link.sentinel import SentinelLink  # noqa: PLC0415  see above

            return SentinelLink(url, connect_timeout=connect_timeout, timeout=timeout)
        case _:
            return Link(url, connect_timeout=connect_timeout, timeout=timeout)


def make_client(redis: RedisConfig) -> Any:
    """A client of redis-py with the settings of a link."""
    from stoker.core.link.clients import async_client  # noqa: PLC0415  see above

    return async_client(
        address(redis),
        max_connections=redis.max_connections,
        socket_timeout=redis.timeout,
        socket_connect_timeout=redis.connect_timeout,
    )


def make_log(link: Link, redis: RedisConfig, keys: Keys, *, read_only: bool) -> InvalidationLog:
    """The log behind a link; where appends must be made sure of, they get a connection of their own."""
    assurance = None
    if redis.wait_replicas or redis.wait_aof:
        patient = redis.model_copy(update={"timeout": redis.wait_timeout * 2 + redis.timeout})
        assurance = Assurance(
            make_link(patient, keys),
            replicas=redis.wait_replicas,
            on_disk=redis.wait_aof,
            timeout=redis.wait_timeout,
        )
    return InvalidationLog(
        link, keys, read_only=read_only, assurance=assurance, allow_eviction=redis.allow_eviction
    )


def make_commits(link: Link, log: Log, keys: Keys) -> Commits:
    """What stores entries over a link."""
    if not link.is_cluster:
        return Commits(link, log, keys)
    from stoker.core.entries.cluster_commits import ClusterCommits  # noqa: PLC0415  see above

    return ClusterCommits(cast("ClusterLink", link), log, keys)
