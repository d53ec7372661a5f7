"""Fixtures for users' tests: caches of their own, in memory or on a real server.

pytest loads this module wherever Stoker is installed; so it imports nothing of Stoker before a fixture is
used. The fixtures are no coroutines: they work with pytest-asyncio, with anyio, and with neither.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stoker.core import CacheConfig, CacheManager

# So that pytest tells what a rule of the contract compared; now, as a conftest.py may import it next. With
# what was imported before pytest, that is too late: pytest would warn, and warnings may be errors.
if "stoker.core.testing" not in sys.modules:
    pytest.register_assert_rewrite("stoker.core.testing")

#: A server for tests, where there is one already; else one is started.
SERVER_VARIABLE = "STOKER_TEST_URL"


@pytest.fixture
def stoker_config() -> CacheConfig:
    """The configuration of `stoker_cache` and `stoker_redis_cache`: override it to declare cache types."""
    from stoker.core import CacheConfig

    return CacheConfig()


@pytest.fixture
def stoker_cache(stoker_config: CacheConfig) -> CacheManager:
    """A cache in memory alone, for one test. It needs no `connect`; `async with` is fine, too."""
    from stoker.core import CacheManager

    off = stoker_config.redis.model_copy(update={"enabled": False})
    return CacheManager(stoker_config.model_copy(update={"redis": off}), recording=False)


@pytest.fixture(scope="session")
def stoker_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real server: $STOKER_TEST_URL, or one that is started; skips where there is none."""
    if given := os.environ.get(SERVER_VARIABLE):
        yield given
        return
    from stoker.worker.embedded import EmbeddedServer, NoServerError

    try:
        server = EmbeddedServer(Path(tmp_path_factory.mktemp("stoker"))).start()
    except NoServerError as error:
        pytest.skip(str(error))
    try:
        yield server.url
    finally:
        server.stop()


@pytest.fixture
def stoker_redis_cache(stoker_server: str, stoker_config: CacheConfig) -> Iterator[CacheManager]:
    """A cache on a real server, below a prefix of its own: `async with stoker_redis_cache as cache`."""
    redis = pytest.importorskip(
        "redis", reason="a cache on a server needs redis: pip install 'stoker[redis]'"
    )
    from stoker.core import CacheManager

    prefix = f"test-{uuid.uuid4().hex[:12]}"
    there = stoker_config.redis.model_copy(update={"url": stoker_server, "enabled": True})
    yield CacheManager(stoker_config.model_copy(update={"prefix": prefix, "redis": there}), recording=False)
    client: Any = redis.Redis.from_url(stoker_server)
    for name in client.scan_iter(match=f"{prefix}:*", count=1000):
        client.unlink(name)
    client.close()
