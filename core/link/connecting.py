"""Opening connections: redis-py connects and authenticates, then the transport is handed over.

So a URL means the same here as in any other program that uses redis-py: user and password, TLS and its
certificates, unix sockets, the database's number. redis-py is imported late: processes that keep all in
memory do without.
"""

from __future__ import annotations

import asyncio
import socket
from importlib import import_module
from typing import Any

from stoker.core.errors import LinkError, ReplyError

#: An idle connection is probed after so many seconds, then every so many, and given up after so many probes.
KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
_KEEPALIVE = {getattr(socket, name): value for name, value in KEEPALIVE.items() if hasattr(socket, name)}


async def open_transport(url: str, limit: float) -> tuple[Any, asyncio.Transport]:
    """Connect and authenticate; return the transport, and what must be held as long as it is used.

    Args:
        url: One server's.
        limit: Seconds it may take.

    Raises:
        LinkError: The server refuses, or is not there.
        OSError: It can't be reached.
        TimeoutError: It takes too long.
    """
    connection = _make(url, limit)
    try:
        async with asyncio.timeout(limit):
            await connection.connect()
    except BaseException as error:  # a cancellation, too: redis-py leaves open what it has begun
        await connection.disconnect(nowait=True)
        if isinstance(error, _errors().RedisError):
            raise LinkError(str(error) or type(error).__name__) from error
        raise
    writer = connection._writer  # noqa: SLF001  redis-py has no public way to hand a connection over
    connection._reader = connection._writer = None  # noqa: SLF001  it is ours now
    return writer, writer.transport


async def ask(url: str, limit: float, *command: str) -> Any:
    """Ask a server one question over a connection of its own.

    Raises:
        LinkError: It can't be reached, or does not answer within `limit` seconds.
        ReplyError: It answers with an error.
    """
    connection = _make(url, limit)
    try:
        async with asyncio.timeout(limit):
            await connection.connect()
            await connection.send_command(*command)
            return await connection.read_response()
    except _errors().ResponseError as error:
        raise ReplyError(str(error)) from None
    except (_errors().RedisError, OSError, TimeoutError) as error:
        raise LinkError(str(error) or type(error).__name__) from None
    finally:
        await connection.disconnect(nowait=True)


def _errors() -> Any:
    return import_module("redis.exceptions")


def _make(url: str, limit: float) -> Any:
    connections: Any = import_module("redis.asyncio.connection")
    pool = connections.ConnectionPool.from_url(
        url,
        protocol=2,
        socket_timeout=None,
        socket_connect_timeout=limit,
        # It would tell the server its own name and version in two further commands.
        driver_info=None,
    )
    kind: Any = pool.connection_class
    options: dict[str, Any] = pool.connection_kwargs
    if issubclass(kind, connections.Connection):  # over TCP, with TLS or without
        options = {"socket_keepalive": True, "socket_keepalive_options": _KEEPALIVE, **options}
    return kind(**options)
