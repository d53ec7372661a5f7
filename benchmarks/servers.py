"""Servers of a measurement's own: on free ports, in temporary folders, gone when it ends."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from tests.servers import RedisServer

from stoker.core import CacheConfig


@contextmanager
def server(*options: str) -> Generator[RedisServer, None, None]:
    """A running server; without persistence unless the options say otherwise."""
    running = RedisServer(*options)
    running.options = (*options, "--unixsocket", socket_path(running))
    try:
        yield running.start()
    finally:
        running.stop()


def socket_path(running: RedisServer) -> str:
    """Where the server listens beside its port."""
    return str(running.folder / "redis.sock")


def address(running: RedisServer, transport: str) -> str:
    """The server's URL by `unix` or `tcp`."""
    return f"unix://{socket_path(running)}" if transport == "unix" else running.url


def configuration(
    url: str, types: dict[str, dict[str, Any]], *, prefix: str = "bench", **redis: Any
) -> CacheConfig:
    """A cache's configuration without jitter."""
    return CacheConfig.model_validate(
        {
            "prefix": prefix,
            "redis": {"url": url, **redis},
            "types": {name: {"jitter": 0.0, **policy} for name, policy in types.items()},
        }
    )
