"""For type checkers alone: what is decorated or passed through keeps its signature."""

from __future__ import annotations

from typing import assert_type

from stoker.core import (
    NOT_MODIFIED,
    CacheManager,
    NotModified,
    OldEntries,
    Reading,
    Receipt,
    cached,
    loader,
    previous,
)


@loader("typing.name", cache_type="db_query")
async def load_name(product_id: int, *, full: bool = False) -> str:
    return f"{product_id}{full}"


@loader("typing.page", cache_type="db_query")
async def load_page(url: str) -> str | NotModified | None:
    return NOT_MODIFIED if previous() else url


async def load_names(keys: list[str]) -> dict[str, str | None]:
    return dict.fromkeys(keys)


async def check(cache: CacheManager) -> None:
    assert_type(await load_name(1, full=True), str)
    assert_type(await cache.get_or_load("db_query", "1", load_name, 1), str)
    assert_type(await cache.get_or_set("db_query", "1", load_name, 1, full=True), str)
    assert_type(await cache.read("db_query", "1", load_name, 1), Reading[str])
    assert_type(await cache.get_or_load("db_query", "1", load_page, "/"), str | None)
    assert_type(await cache.read("db_query", "1", load_page, "/"), Reading[str | None])
    assert_type(await cache.get_or_load_many("db_query", ["1"], load_names), dict[str, str | None])
    assert_type(await cache.cache("db_query").get_or_load("1", load_page, "/"), str | None)
    await cache.get_or_load("db_query", "1", load_name, "one")  # type: ignore[arg-type]  # pyright: ignore
    await load_name("one")  # type: ignore[arg-type]  # pyright: ignore


def check_decorated(cache: CacheManager) -> None:
    """A cached function is called as before, and its results are what they were."""

    @cached(cache=cache, cache_type="db_query")
    async def find(user_id: int, *, full: bool = False) -> list[str]:
        return [f"{user_id}{full}"]

    @cached(cache=cache, cache_type="db_query")
    async def page(url: str) -> str | NotModified:
        return NOT_MODIFIED if previous() else url

    async def use() -> None:
        assert_type(await page("/"), str)
        assert_type(await find(1, full=True), list[str])
        assert_type(find.key(1), str)
        assert_type(await find.invalidate(1), Receipt)
        await find("one")  # type: ignore[arg-type]  # pyright: ignore
        find.key(1, fuller=True)  # type: ignore[call-arg]  # pyright: ignore

    _ = use


async def check_old_entries(cache: CacheManager, old: OldEntries) -> None:
    """A loader that looks for old entries first is called as the loader."""
    load = old.before(load_name)
    assert_type(await cache.get_or_load("db_query", "1", load, 1, full=True), str)
    await load("one")  # type: ignore[arg-type]  # pyright: ignore

    @cached(cache=cache, cache_type="db_query")
    @old.before
    async def find(user_id: int, *, full: bool = False) -> list[str]:
        return [f"{user_id}{full}"]

    assert_type(await find(1, full=True), list[str])
    await find("one")  # type: ignore[arg-type]  # pyright: ignore
