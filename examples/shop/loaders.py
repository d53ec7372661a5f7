"""How the shop's cached values are made: by the shop for its readers, by Stoker's worker ahead of them.

`stoker.yaml` names this module, and the worker imports it. What a loader needs besides its arguments it has
to find for itself, here the database: a recipe that waits in Redis holds nothing but a loader's name and its
arguments.
"""

from __future__ import annotations

from examples.shop.catalog import CategoryPage, Product
from examples.shop.database import Database
from stoker.core import loader

_database: Database | None = None


def use(database: Database | None) -> None:
    """Let the loaders of this process read from `database`; the shop does, on start-up."""
    global _database  # noqa: PLW0603 - one database a process, and loaders are plain functions
    _database = database


def database() -> Database:
    """The database of this process. Where nobody chose one, as in a worker, its loads count as warming."""
    if _database:
        return _database
    opened = Database.from_environment("warm")
    use(opened)
    return opened


def product_key(product_id: int) -> str:
    """The cache key of a product."""
    return str(product_id)


def category_key(category_id: int, page: int) -> str:
    """The cache key of one page of a category."""
    return f"{category_id}:{page}"


def product_tags(product: Product | None) -> list[str]:
    """A sale in its category makes a product's page out of date."""
    return [f"category:{product.category_id}"] if product else []


def category_tags(page: CategoryPage | None) -> list[str]:
    """A page is out of date after a sale, and after any price change among the products it may list."""
    return [f"category:{page.id}", f"listing:{page.id}"] if page else []


@loader("shop.product", cache_type="product", tags=product_tags)
async def load_product(product_id: int) -> Product | None:
    """Load a product's page; `None`, which is cached too, if there is no such product."""
    return await database().product(product_id)


@loader("shop.category", cache_type="category", tags=category_tags)
async def load_category(category_id: int, page: int = 1) -> CategoryPage | None:
    """Load one page of a category; `None` if there is no such page."""
    return await database().category(category_id, page)
