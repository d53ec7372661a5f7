"""Fixtures for all tests: real servers, and the running of `async def` tests."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clusters import ClusterServers
from tests.servers import RedisServer

# The examples are no part of the installed package: they are imported from the repository's root.
sys.path.append(str(Path(__file__).resolve().parent.parent))

#: On the project's CI nothing may be skipped for want of a program.
CI = os.environ.get("CI") == "true"


def missing(what: str) -> None:
    """Skip on a user's machine what needs a program that is not there; fail where CI must have it."""
    if CI:
        pytest.fail(f"{what} must be there under CI=true")
    pytest.skip(f"needs {what}")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def test_…` on an event loop of its own, with asyncio's debug checks off."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments: dict[str, Any] = {
        name: pyfuncitem.funcargs[name] for name in names if name in pyfuncitem.funcargs
    }
    asyncio.run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One real server for the tests that share it, each under its own `prefix`."""
    server = RedisServer().start()
    yield server
    server.stop()


@pytest.fixture
def own_redis_server() -> Iterator[RedisServer]:
    """A real server for one test, which may kill or freeze it."""
    server = RedisServer().start()
    yield server
    server.stop()


@pytest.fixture
def prefix(redis_server: RedisServer) -> Iterator[str]:
    """A fresh key prefix; afterwards every key below it must have had a TTL or a stated bound."""
    name = f"t{uuid.uuid4().hex[:10]}"
    yield name
    client = redis_server.client()
    unbounded = [
        key.decode()
        for key in client.scan_iter(match=f"{name}:*", count=1000)
        if client.ttl(key) == -1 and not has_stated_bound(name, key.decode())
    ]
    for key in client.scan_iter(match=f"{name}:*", count=1000):
        client.unlink(key)
    client.close()
    assert not unbounded, f"keys with neither a TTL nor a stated bound: {unbounded}"


@pytest.fixture(scope="session")
def cluster() -> Iterator[ClusterServers]:
    """Three masters that the tests share, each under its own prefix."""
    servers = ClusterServers(3)
    try:
        yield servers.start()
    finally:
        servers.stop()


@pytest.fixture
def cluster_prefix(cluster: ClusterServers) -> Iterator[str]:
    """A fresh key prefix; afterwards every key below it must have had a TTL or a stated bound."""
    name = f"t{uuid.uuid4().hex[:10]}"
    yield name
    unbounded: list[str] = []
    for server in cluster.masters:
        client = server.client()
        for key in client.scan_iter(match=f"{name}:*", count=1000):
            if client.ttl(key) == -1 and not has_stated_bound(name, key.decode()):
                unbounded.append(key.decode())
            client.unlink(key)
        client.close()
    assert not unbounded, f"keys with neither a TTL nor a stated bound: {unbounded}"


def has_stated_bound(prefix: str, key: str) -> bool:
    """Keys that live on, each with the bound that docs/wire-format.md states."""
    return key in {
        f"{prefix}:log",  # the sweep
        f"{prefix}:fence",  # one string
        f"{prefix}:fence:{{{prefix}:log}}",  # the same, on a cluster
        f"{prefix}:events",  # MAXLEN
        f"{prefix}:events:dead",  # MAXLEN
        f"{prefix}:paused",  # as many fields as types
        f"{prefix}:beat:last",  # as many fields as schedule entries
    } or key.startswith(f"{prefix}:celery:")  # the broker's own
