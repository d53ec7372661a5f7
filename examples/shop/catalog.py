"""What the shop serves: the values that are loaded from the database and cached."""

from __future__ import annotations

import msgspec


class Related(msgspec.Struct, frozen=True):
    """A product of the same category, near in price."""

    id: int
    name: str


class Product(msgspec.Struct, frozen=True):
    """A product page.

    `version` grows by one at every change of the price. What is derived from other products
    (`category_average_cents`, `related`) is as old as the entry: only a change of the product itself, or of
    its whole category, renews it early.
    """

    id: int
    name: str
    category_id: int
    category: str
    price_cents: int
    stock: int
    version: int
    category_average_cents: int
    related: list[Related]


class Listed(msgspec.Struct, frozen=True):
    """A product as a line of its category's page."""

    id: int
    name: str
    price_cents: int
    version: int


class CategoryPage(msgspec.Struct, frozen=True):
    """One page of a category, in order of product ids."""

    id: int
    name: str
    page: int
    products: list[Listed]


class Change(msgspec.Struct, frozen=True):
    """A committed write, with the invalidation event that was committed beside it."""

    event_id: str
    event: bytes
    """The event as JSON, as Stoker's event stream takes it."""
    version: int
    """The product's new version; 0 for a sale, which changes many."""
    products: int = 1
    """How many products changed."""
