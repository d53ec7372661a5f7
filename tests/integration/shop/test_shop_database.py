"""The shop's database: the same everywhere, and right about versions and what goes with them."""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from examples.shop.catalog import Listed
from examples.shop.database import Database
from examples.shop.ledger import Ledger
from examples.shop.queries import PAGE_LINES
from examples.shop.seed import CATEGORIES, PRODUCTS, create


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "shop.sqlite", origin="reader", query_seconds=0)
    yield opened
    opened.close()


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_it_is_the_same_each_time_it_is_made(tmp_path: Path) -> None:
    create(tmp_path / "one.sqlite")
    create(tmp_path / "two.sqlite")

    assert dump(tmp_path / "one.sqlite") == dump(tmp_path / "two.sqlite")


def test_it_holds_what_was_promised(tmp_path: Path) -> None:
    create(tmp_path / "shop.sqlite")
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as connection:
        counts = connection.execute(
            "SELECT count(*), count(DISTINCT name), count(DISTINCT category_id), min(price_cents) "
            "FROM products"
        ).fetchone()
        names = connection.execute("SELECT count(DISTINCT name) FROM categories").fetchone()
        mode = connection.execute("PRAGMA journal_mode").fetchone()

    assert counts == (PRODUCTS, PRODUCTS, CATEGORIES, 99)
    assert names == (CATEGORIES,)
    assert mode == ("wal",)


def test_processes_that_start_together_make_it_once(tmp_path: Path) -> None:
    path = tmp_path / "shop.sqlite"
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.map(create, [path] * 3)

    assert [file.name for file in tmp_path.iterdir()] == ["shop.sqlite"]


async def test_a_product_comes_with_its_category(database: Database) -> None:
    product = await database.product(42)

    assert product
    assert product.version == 1
    with closing(sqlite3.connect(database.path)) as connection:
        rows = connection.execute(
            "SELECT id, price_cents FROM products WHERE category_id = ?", (product.category_id,)
        ).fetchall()
    prices = dict(rows)
    assert product.category_average_cents == sum(prices.values()) // len(prices)
    distances = sorted(abs(price - product.price_cents) for other, price in rows if other != 42)
    assert [abs(prices[near.id] - product.price_cents) for near in product.related] == distances[:5]


async def test_pages_of_a_category_hold_each_product_once(database: Database) -> None:
    pages = [page async for page in all_pages(database, 7)]

    ids = [line.id for page in pages for line in page]
    assert ids == sorted(set(ids))
    assert all(len(page) == PAGE_LINES for page in pages[:-1])


async def all_pages(database: Database, category_id: int) -> AsyncIterator[list[Listed]]:
    number = 1
    while page := await database.category(category_id, number):
        yield page.products
        number += 1


async def test_what_is_not_there_is_none(database: Database) -> None:
    assert await database.product(PRODUCTS + 1) is None
    assert await database.category(CATEGORIES + 1) is None
    assert await database.change_price(PRODUCTS + 1, 100) is None
    assert await database.sale(CATEGORIES + 1, 10) is None
    assert await database.unpublished(older_than=-1) == []


async def test_a_price_change_raises_the_version_and_notes_its_event(database: Database) -> None:
    product = await database.product(42)
    assert product
    change = await database.change_price(42, 12_345)

    assert change
    assert change.version == 2
    again = await database.product(42)
    assert again
    assert (again.version, again.price_cents) == (2, 12_345)
    event = json.loads(change.event)
    assert event["id"] == change.event_id
    assert event["scopes"] == [{"type": "product", "key": "42"}, {"tag": f"listing:{product.category_id}"}]
    assert await database.unpublished(older_than=-1) == [(change.event_id, change.event)]


async def test_a_published_event_leaves_the_outbox(database: Database) -> None:
    first = await database.change_price(1, 100)
    second = await database.change_price(2, 100)
    assert first
    assert second
    await database.published([first.event_id])

    assert await database.unpublished(older_than=-1) == [(second.event_id, second.event)]
    assert await database.unpublished(older_than=60) == []


async def test_a_sale_changes_a_whole_category(database: Database) -> None:
    before = await database.category(7)
    change = await database.sale(7, 50)
    after = await database.category(7)

    assert before
    assert change
    assert after
    assert change.products > PAGE_LINES
    assert [line.price_cents for line in after.products] == [
        line.price_cents // 2 for line in before.products
    ]
    assert {line.version for line in after.products} == {2}
    assert json.loads(change.event)["scopes"] == [{"tag": "category:7"}]


async def test_loads_are_counted_by_origin_across_databases(database: Database) -> None:
    with closing(Database(database.path, origin="warm", query_seconds=0)) as other:
        await database.product(1)
        await other.product(1)
        await other.category(1)
        assert await other.answers()

    assert database.ledger.totals() == {"reader": 1, "warm": 2}


def test_counts_of_several_processes_add_up(tmp_path: Path) -> None:
    path = tmp_path / "loads"
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.map(count_a_hundred, [path] * 6)
    with closing(Ledger(path)) as ledger:
        assert ledger.totals() == {"reader": 600, "warm": 0}


def count_a_hundred(path: Path) -> None:
    with closing(Ledger(path)) as ledger:
        for _ in range(100):
            ledger.count("reader", "product")
