"""How long an entry lives: the call says, else its type, else the environment's default, else the default."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoker.core import CacheManager
from tests.configuring import load_cache


@pytest.mark.parametrize(
    ("call", "of_type", "environment", "seconds"),
    [
        (10, "20s", {"CACHE_TTL": "30"}, 10),
        (None, "20s", {"CACHE_TTL": "30"}, 20),
        (None, None, {"CACHE_TTL": "30"}, 30),
        (None, None, {"CACHE_TTL": "30", "CACHE_DEFAULT_TTL": "31"}, 31),
        (None, None, {}, 3600),
        (10, None, {}, 10),
        (None, "20s", {"STOKER_TYPES__PAGE__TTL": "15s"}, 15),  # a variable of the very type is the type's
    ],
)
async def test_the_nearest_says_how_long_an_entry_lives(
    tmp_path: Path, call: float | None, of_type: str | None, environment: dict[str, str], seconds: float
) -> None:
    ttl = f", ttl: {of_type}" if of_type else ""
    text = f"redis: {{enabled: false}}\ntypes: {{page: {{jitter: 0{ttl}}}}}"
    async with CacheManager(load_cache(tmp_path, text, environment).value) as cache:
        await cache.set("page", "k", 1, ttl=call)
        left = await cache.ttl("page", "k")
        assert left is not None
        assert seconds - 5 < left <= seconds
