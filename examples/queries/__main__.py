"""`python -m examples.queries`."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

from examples.queries.store import Database, change_price, find_cheapest, find_product, use
from examples.running import Report, cache_of, run, settings
from stoker.core import CacheManager

PRODUCTS, CATEGORIES, READS = 2_000, 20, 5_000


async def main(url: str, report: Report) -> None:
    """Many reads, a few writes, and no answer that is out of date."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(str(Path(folder) / "products.sqlite"), PRODUCTS, CATEGORIES)
        use(database)
        try:
            config = settings(url, "queries", types={"db_query": {"ttl": "5m", "tiers": ["memory", "redis"]}})
            async with cache_of(config) as cache:
                await read_and_write(cache, database, report)
                await look_closely(cache, database, report)
        finally:
            use(None)
            database.close()


async def read_and_write(cache: CacheManager, database: Database, report: Report) -> None:
    """What is asked for most is asked for often; now and then a price changes."""
    chance, wrong, changes = random.Random(1), 0, 0
    for number in range(READS):
        wanted = int(PRODUCTS * chance.random() ** 3)  # the first ones far more often than the last
        product = await find_product(cache, wanted)
        if product is None:
            wrong += 1
        elif number % 100 == 0:
            await change_price(cache, product, product.price + 1)
            again = await find_product(cache, wanted)
            wrong += again is None or again.price != product.price + 1
            changes += 1
    report.tell("reads, price changes", f"{READS + changes}, {changes}")
    report.tell("queries that reached the database", database.queries)
    stats = await cache.get_stats("db_query")
    report.tell("hit rate", f"{stats.hit_rate:.0%}")
    report.show("each read after a change had the new price", holds=not wrong)
    report.show("most reads never reached the database", holds=database.queries < READS * 0.4)


async def look_closely(cache: CacheManager, database: Database, report: Report) -> None:
    """Lists, what is not there, and many who ask at once."""
    before = await find_cheapest(cache, 7)
    other, dearest = await find_cheapest(cache, 8), before[-1]
    await change_price(cache, dearest, Decimal("0.50"))
    asked = database.queries
    after = await find_cheapest(cache, 7)
    report.show("a list follows a change of any product in it", holds=after[0].id == dearest.id)
    report.show(
        "lists of other categories stay",
        holds=await find_cheapest(cache, 8) == other and database.queries == asked + 1,
    )

    asked = database.queries
    answers = [await find_product(cache, PRODUCTS + 1) for _ in range(3)]
    report.show(
        "that there is no such product is kept, too",
        holds=answers == [None] * 3 and database.queries == asked + 1,
    )

    await cache.invalidate_type("db_query")
    asked = database.queries
    await asyncio.gather(*(find_product(cache, 5) for _ in range(100)))
    report.show("a hundred who ask at once cost one query", holds=database.queries == asked + 1)


if __name__ == "__main__":
    sys.exit(run("Database queries: results, invalidated by what they depend on", main))
