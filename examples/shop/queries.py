"""The shop's SQL, each function within a transaction of its caller."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Sequence

from examples.shop.catalog import CategoryPage, Change, Listed, Product, Related

#: Lines on one page of a category.
PAGE_LINES = 24

_PRODUCT = """
SELECT p.id, p.name, p.category_id, c.name, p.price_cents, p.stock, p.version,
       (SELECT CAST(avg(price_cents) AS INTEGER) FROM products WHERE category_id = p.category_id)
FROM products p JOIN categories c ON c.id = p.category_id WHERE p.id = ?
"""
_RELATED = """
SELECT id, name FROM products WHERE category_id = ? AND id <> ? ORDER BY abs(price_cents - ?), id LIMIT 5
"""
_LISTED = """
SELECT id, name, price_cents, version FROM products WHERE category_id = ? ORDER BY id LIMIT ? OFFSET ?
"""


def read_product(connection: sqlite3.Connection, product_id: int) -> Product | None:
    """A product, its category's average price, and the five of its category that are nearest in price."""
    row = connection.execute(_PRODUCT, (product_id,)).fetchone()
    if row is None:
        return None
    identity, name, category_id, category, price, stock, version, average = row
    related = [Related(*line) for line in connection.execute(_RELATED, (category_id, product_id, price))]
    return Product(identity, name, category_id, category, price, stock, version, average, related)


def read_category(connection: sqlite3.Connection, category_id: int, page: int) -> CategoryPage | None:
    """One page of a category."""
    row = connection.execute("SELECT name FROM categories WHERE id = ?", (category_id,)).fetchone()
    lines = connection.execute(_LISTED, (category_id, PAGE_LINES, (page - 1) * PAGE_LINES)).fetchall()
    if row is None or not lines:
        return None
    return CategoryPage(category_id, row[0], page, [Listed(*line) for line in lines])


def change_price(connection: sqlite3.Connection, product_id: int, cents: int) -> Change | None:
    """Set a price; what must go is the product's page and the pages of its category."""
    row = connection.execute(
        "UPDATE products SET price_cents = ?, version = version + 1 WHERE id = ? "
        "RETURNING version, category_id",
        (cents, product_id),
    ).fetchone()
    if row is None:
        return None
    version, category_id = row
    scopes = [{"type": "product", "key": str(product_id)}, {"tag": f"listing:{category_id}"}]
    event_id, event = _note(connection, scopes, f"price of product {product_id}")
    return Change(event_id, event, version)


def sale(connection: sqlite3.Connection, category_id: int, percent: int) -> Change | None:
    """Lower all prices of a category; what must go is everything that carries the category's tag."""
    changed = connection.execute(
        "UPDATE products SET price_cents = max(1, price_cents * ? / 100), version = version + 1 "
        "WHERE category_id = ?",
        (100 - percent, category_id),
    ).rowcount
    if not changed:
        return None
    event_id, event = _note(
        connection, [{"tag": f"category:{category_id}"}], f"sale in category {category_id}"
    )
    return Change(event_id, event, 0, changed)


def unpublished(connection: sqlite3.Connection, before: float, limit: int) -> list[tuple[str, bytes]]:
    """The oldest events that were written before a Unix time and are still in the outbox."""
    query = "SELECT event_id, event FROM outbox WHERE written < ? ORDER BY written LIMIT ?"
    return connection.execute(query, (before, limit)).fetchall()


def published(connection: sqlite3.Connection, event_ids: Sequence[str]) -> None:
    """Forget events that stand in the stream."""
    connection.executemany("DELETE FROM outbox WHERE event_id = ?", [(event_id,) for event_id in event_ids])


def _note(connection: sqlite3.Connection, scopes: list[dict[str, str]], reason: str) -> tuple[str, bytes]:
    event_id = uuid.uuid4().hex
    event = json.dumps({"id": event_id, "scopes": scopes, "source": "shop", "reason": reason}).encode()
    connection.execute("INSERT INTO outbox VALUES (?, ?, ?)", (event_id, time.time(), event))
    return event_id, event
