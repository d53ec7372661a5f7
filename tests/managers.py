"""Making managers for tests."""

from __future__ import annotations

from typing import Any, Protocol

from stoker.core import CacheConfig, CacheManager

#: Generous, so that a loaded machine turns no hit into a miss; outage tests choose their own.
PATIENT = {"timeout": 10.0, "connect_timeout": 10.0}


class Reached(Protocol):
    """A server, a cluster, or sentinels that know of one."""

    @property
    def url(self) -> str: ...


def make_config(server: Reached, prefix: str, **types: dict[str, Any]) -> CacheConfig:
    """A configuration with the built-in types and the given ones; no jitter unless asked for."""
    return CacheConfig.model_validate(
        {
            "prefix": prefix,
            "redis": {"url": server.url, **PATIENT},
            "types": {name: {"jitter": 0.0, **policy} for name, policy in types.items()},
        }
    )


def make_manager(
    server: Reached, prefix: str, *, recording: bool = False, **types: dict[str, Any]
) -> CacheManager:
    """A manager that is not connected yet."""
    return CacheManager(make_config(server, prefix, **types), recording=recording)
