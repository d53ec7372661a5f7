"""What commands begin with: the configuration, the cache behind it, options they share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from stoker.core.errors import ReplyError, StokerError
from stoker.core.link.clients import async_client
from stoker.core.manager import CacheManager
from stoker.core.settings.config import Loaded, load_config
from stoker.core.settings.redaction import redact_url
from stoker.worker import logs
from stoker.worker.config import StokerConfig
from stoker.worker.refusals import is_refusal, remedy
from stoker.worker.running import running_server

T = TypeVar("T")
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

#: A person waits longer for an answer than a reader of a cache does, in seconds.
PATIENCE_SECONDS = 5.0


class UnreachableError(StokerError):
    """The server does not answer; the message says which one and what to do."""


class RefusedError(StokerError):
    """The server answers, but refuses; the message says which one, why and what to do."""


def _remember(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.obj = value


def config_option(function: FunctionT) -> FunctionT:
    """Let `-c FILE` stand after the command too."""
    return click.option(
        "-c",
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        expose_value=False,
        callback=_remember,
        help="The configuration; ./stoker.yaml if it is there.",
    )(function)


def json_option(function: FunctionT) -> FunctionT:
    """Let a command that shows something do so for machines."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON, for machines.")(function)


def loaded_config(*, find_server: bool = True) -> Loaded[StokerConfig]:
    """Read the configuration of the current command.

    Args:
        find_server: Where no server is configured, use that of a `stoker up` which runs from the same place.

    Raises:
        ConfigError: Something is wrong with it.
    """
    path: Path | None = click.get_current_context().obj
    loaded = load_config(StokerConfig, path)
    if find_server and loaded.origins["redis.url"].kind == "default":
        url = running_server(Path(loaded.value.up.data))
        if url:
            return load_config(StokerConfig, path, {**os.environ, "STOKER_REDIS__URL": url})
    return loaded


@asynccontextmanager
async def connected(config: StokerConfig, *, read_only: bool = False) -> AsyncGenerator[CacheManager]:
    """Connect to the cache, with more patience than services have.

    Args:
        config: Where it is.
        read_only: For commands that look: none of them opens an epoch of the log.

    Raises:
        UnreachableError: The server does not answer.
        RefusedError: It answers, but refuses what the block asks of it.
    """
    await _reach(config)
    patient = config.redis.model_copy(
        update={
            "timeout": max(config.redis.timeout, PATIENCE_SECONDS),
            "connect_timeout": max(config.redis.connect_timeout, PATIENCE_SECONDS),
        }
    )
    manager = CacheManager(
        config.model_copy(update={"redis": patient}), process="cli", recording=False, read_only=read_only
    )
    try:
        with logs.calm(config.logs):
            if not await manager.connect():
                raise _trouble(config, manager.link.last_error)
            yield manager
    except ReplyError as error:
        raise _trouble(config, str(error)) from None
    finally:
        await manager.close()


async def _reach(config: StokerConfig) -> None:
    """Try once: a connection that is kept tries for longer, which a person should not have to wait for."""
    client = async_client(
        config.redis.url,
        socket_timeout=PATIENCE_SECONDS,
        socket_connect_timeout=PATIENCE_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        await client.ping()
    except (redis.RedisError, OSError) as error:
        raise _trouble(config, str(error)) from None
    finally:
        await client.aclose()


def _trouble(config: StokerConfig, reason: str) -> StokerError:
    where, told = redact_url(config.redis.url), reason.rstrip(".")
    if is_refusal(reason):
        what_to_do = remedy(reason, config.prefix) or "`stoker doctor` tells more"
        return RefusedError(f"{where} answers, but refuses: {told}; {what_to_do}")
    return UnreachableError(
        f"{where} is not reachable ({told}): start it, set redis.url, or ask `stoker doctor`"
    )


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work on an event loop of its own."""
    return asyncio.run(work)
