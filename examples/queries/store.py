"""Products in SQLite, the queries over them, and what the results depend on."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from decimal import Decimal

from stoker.core import CacheManager, loader


@dataclass(frozen=True)
class Product:
    """A row; the cache gives it back as it was, price and all."""

    id: int
    name: str
    category: int
    price: Decimal


class Database:
    """A database that counts what it is asked.

    Args:
        path: Its file.
        products: So many products are put into it.
        categories: They are spread over so many categories.
    """

    def __init__(self, path: str, products: int, categories: int) -> None:
        self.queries = 0
        self._connection = sqlite3.connect(path)
        self._connection.execute(
            "CREATE TABLE product (id INTEGER PRIMARY KEY, name, category INTEGER, cents INTEGER)"
        )
        rows = (
            (number, f"product {number}", number % categories, 100 + number) for number in range(products)
        )
        self._connection.executemany("INSERT INTO product VALUES (?, ?, ?, ?)", rows)
        self._connection.commit()

    def select(self, rest: str, *values: int) -> list[Product]:
        """Ask for products."""
        self.queries += 1
        rows = self._connection.execute(f"SELECT * FROM product {rest}", values)  # noqa: S608  our own texts
        return [
            Product(number, name, category, Decimal(cents) / 100) for number, name, category, cents in rows
        ]

    def set_price(self, product: int, price: Decimal) -> None:
        """Change a price."""
        self._connection.execute("UPDATE product SET cents = ? WHERE id = ?", (int(price * 100), product))
        self._connection.commit()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


_databases: list[Database] = []


def use(database: Database | None) -> None:
    """Say which database the loaders ask."""
    _databases[:] = [database] if database else []


def tags_of(found: Product | list[Product] | None) -> list[str]:
    """What a result depends on: of one product on that, of a list on the category."""
    if isinstance(found, Product):
        return [f"product:{found.id}"]
    return [f"category:{product.category}" for product in (found or [])[:1]]


@loader("queries.product", cache_type="db_query", tags=tags_of)
async def load_product(product: int) -> Product | None:
    """One product; that there is none is an answer, too, and is kept."""
    return next(iter(_databases[0].select("WHERE id = ?", product)), None)


@loader("queries.cheapest", cache_type="db_query", tags=tags_of)
async def load_cheapest(category: int, count: int) -> list[Product]:
    """The cheapest products of a category."""
    return _databases[0].select("WHERE category = ? ORDER BY cents LIMIT ?", category, count)


async def find_product(cache: CacheManager, product: int) -> Product | None:
    """One product, from the cache where it is there."""
    return await cache.get_or_load("db_query", f"product:{product}", load_product, product)


async def find_cheapest(cache: CacheManager, category: int, count: int = 5) -> list[Product]:
    """The cheapest products of a category, from the cache where they are there."""
    key = f"cheapest:{category}:{count}"
    return await cache.get_or_load("db_query", key, load_cheapest, category, count)


async def change_price(cache: CacheManager, product: Product, price: Decimal) -> None:
    """Change a price: in the database first, then whatever depends on it, with one command."""
    _databases[0].set_price(product.id, price)
    await cache.invalidate_tags(f"product:{product.id}", f"category:{product.category}")
