"""The shop's loaders behind a real cache: what they load, tag, and who is counted for it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from examples.shop import loaders
from examples.shop.catalog import CategoryPage, Product
from examples.shop.database import Database
from examples.shop.outbox import Outbox

from stoker.core import CacheConfig, CacheManager, Policy, Recipe, Tag
from stoker.core.events import apply_events, parse_event
from stoker.core.settings.config import RedisConfig
from tests.servers import RedisServer


@asynccontextmanager
async def shop(url: str, prefix: str, folder: Path) -> AsyncGenerator[tuple[CacheManager, Database], None]:
    """A cache and a database, as the shop has them."""
    types = {"product": Policy(ttl=60), "category": Policy(ttl=60)}
    database = Database(folder / "shop.sqlite", origin="reader", query_seconds=0)
    loaders.use(database)
    try:
        async with CacheManager(CacheConfig(prefix=prefix, redis=RedisConfig(url=url), types=types)) as cache:
            yield cache, database
    finally:
        loaders.use(None)
        database.close()


async def product(cache: CacheManager, product_id: int) -> Product | None:
    return await cache.get_or_load(
        "product", loaders.product_key(product_id), loaders.load_product, product_id
    )


async def page(cache: CacheManager, category_id: int) -> CategoryPage | None:
    key = loaders.category_key(category_id, 1)
    return await cache.get_or_load("category", key, loaders.load_category, category_id, 1)


async def test_a_cached_product_comes_back_as_what_it_was(
    redis_server: RedisServer, prefix: str, tmp_path: Path
) -> None:
    async with shop(redis_server.url, prefix, tmp_path) as (cache, database):
        first, second = await product(cache, 42), await product(cache, 42)

        assert isinstance(second, Product)
        assert first == second
        assert database.ledger.totals()["reader"] == 1


async def test_that_there_is_no_such_product_is_cached_too(
    redis_server: RedisServer, prefix: str, tmp_path: Path
) -> None:
    async with shop(redis_server.url, prefix, tmp_path) as (cache, database):
        assert await product(cache, 99_999_999) is None
        assert await product(cache, 99_999_999) is None
        assert database.ledger.totals()["reader"] == 1


async def test_a_price_change_reaches_the_product_and_its_categorys_page_and_no_more(
    redis_server: RedisServer, prefix: str, tmp_path: Path
) -> None:
    async with shop(redis_server.url, prefix, tmp_path) as (cache, database):
        listed = await page(cache, 7)
        assert listed
        first, second = listed.products[0].id, listed.products[1].id
        await product(cache, first)
        await product(cache, second)
        change = await database.change_price(first, 123)
        assert change
        await apply_events(cache, [parse_event(change.event)])
        loads = database.ledger.totals()["reader"]

        await product(cache, second)
        assert database.ledger.totals()["reader"] == loads
        changed, listed = await product(cache, first), await page(cache, 7)
        assert changed
        assert listed
        assert (changed.version, changed.price_cents) == (2, 123)
        assert (listed.products[0].version, listed.products[0].price_cents) == (2, 123)


async def test_a_sale_reaches_all_products_of_its_category(
    redis_server: RedisServer, prefix: str, tmp_path: Path
) -> None:
    async with shop(redis_server.url, prefix, tmp_path) as (cache, database):
        listed, other = await page(cache, 7), await page(cache, 8)
        assert listed
        assert other
        for line in [*listed.products, *other.products]:
            await product(cache, line.id)
        change = await database.sale(7, 20)
        assert change
        await apply_events(cache, [parse_event(change.event)])

        assert {p.version for line in listed.products if (p := await product(cache, line.id))} == {2}
        assert {p.version for line in other.products if (p := await product(cache, line.id))} == {1}


async def test_a_recipe_loads_the_product_again(
    redis_server: RedisServer, prefix: str, tmp_path: Path
) -> None:
    async with shop(redis_server.url, prefix, tmp_path) as (cache, database):
        await product(cache, 42)
        change = await database.change_price(42, 999)
        assert change
        await cache.reload("product", "42", Recipe.unpack(Recipe("shop.product", (42,)).pack()))

        renewed = await product(cache, 42)
        assert renewed
        assert renewed.version == 2
        assert database.ledger.totals()["reader"] == 2


async def test_events_stay_in_the_outbox_until_they_stand_in_the_stream(
    own_redis_server: RedisServer, tmp_path: Path
) -> None:
    async with shop(own_redis_server.url, "outbox", tmp_path) as (cache, database):
        outbox = Outbox(database, cache)
        first = await database.change_price(1, 100)
        assert first
        assert await outbox.publish(first)
        own_redis_server.kill()
        second = await database.change_price(2, 100)
        assert second
        assert await outbox.publish(second) is None
        assert await outbox.step(grace=-1) == 1
        own_redis_server.start()
        await cache.link.wait_ready()

        assert await outbox.step(grace=-1) == 0
        assert await database.unpublished(older_than=-1) == []
        records = await cache.link.call("XRANGE", cache.keys.events, "-", "+")
        # The server came back empty: it holds what was published since.
        assert [parse_event(fields[1]).id for _, fields in records] == [second.event_id]


async def test_a_process_that_chose_no_database_counts_as_warming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DATABASE", str(tmp_path / "shop.sqlite"))
    monkeypatch.setenv("SHOP_QUERY_MS", "0")
    database = loaders.database()
    try:
        assert await loaders.load_product(42)
        assert database.query_seconds == 0
        assert database.ledger.totals() == {"reader": 0, "warm": 1}
    finally:
        loaders.use(None)
        database.close()


def test_tags_lead_from_a_category_to_what_shows_it() -> None:
    assert loaders.product_tags(None) == []
    assert loaders.category_tags(CategoryPage(7, "lamps", 1, [])) == [
        str(Tag("category:7").tag),
        str(Tag("listing:7").tag),
    ]
