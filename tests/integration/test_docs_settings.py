"""The examples of docs/configuration.md and docs/metrics.md run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stoker.core import CacheConfig, CacheManager
from tests.managers import make_manager
from tests.pages import blocks, text_of
from tests.servers import RedisServer


def test_the_examples_of_configuration_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    for block in blocks(text_of("configuration.md"), "python"):
        exec(compile(block, "docs/configuration.md", "exec"), scope)
        assert isinstance(scope["config"], CacheConfig)


async def test_the_examples_of_metrics_run(redis_server: RedisServer, prefix: str) -> None:
    async with make_manager(redis_server, prefix) as cache:
        await cache.set("session", "s", 1)
        scope: dict[str, Any] = {"cache": cache}
        first, second = blocks(text_of("metrics.md"), "python")[:2]
        exec(compile(first, "docs/metrics.md", "exec"), scope)
        assert b'stoker_sets_total{cache_type="session"} 1.0' in scope["body"]
        exec(compile(second, "docs/metrics.md", "exec"), scope)
        assert isinstance(scope["cache"], CacheManager)
