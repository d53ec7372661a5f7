"""For type checkers alone: what is decorated or passed through keeps its signature."""

from __future__ import annotations

from typing import assert_type

from stoker.core import CacheManager, Reading, loader


@loader("typing.name", cache_type="db_query")
async def load_name(product_id: int, *, full: bool = False) -> str:
    return f"{product_id}{full}"


async def check(cache: CacheManager) -> None:
    assert_type(await load_name(1, full=True), str)
    assert_type(await cache.get_or_load("db_query", "1", load_name, 1), str)
    assert_type(await cache.get_or_set("db_query", "1", load_name, 1, full=True), str)
    assert_type(await cache.read("db_query", "1", load_name, 1), Reading[str])
    await cache.get_or_load("db_query", "1", load_name, "one")  # type: ignore[arg-type]  # pyright: ignore
    await load_name("one")  # type: ignore[arg-type]  # pyright: ignore
