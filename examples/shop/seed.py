"""The shop's stock on its first day: the same on every machine."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

PRODUCTS = 25_000
CATEGORIES = 200

SCHEMA = """
CREATE TABLE categories (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE products (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    category_id INTEGER NOT NULL REFERENCES categories(id),
    price_cents INTEGER NOT NULL,
    stock INTEGER NOT NULL,
    version INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE outbox (event_id TEXT PRIMARY KEY, written REAL NOT NULL, event BLOB NOT NULL) WITHOUT ROWID;
"""
INDEX = "CREATE INDEX products_by_category ON products(category_id, id)"

_KINDS = (
    "lamp", "chair", "table", "desk", "shelf", "kettle", "pan", "knife", "plate", "mug", "towel", "blanket",
    "pillow", "rug", "clock", "frame", "vase", "candle", "basket", "mirror", "bench", "stool", "hook",
    "drawer", "cabinet",
)  # fmt: skip
_ROOMS = ("kitchen", "garden", "office", "hallway", "bathroom", "nursery", "workshop", "balcony")
_LOOKS = (
    "plain",
    "oak",
    "steel",
    "linen",
    "walnut",
    "brass",
    "glass",
    "cork",
    "felt",
    "slate",
    "enamel",
    "bamboo",
)
_MAKERS = (
    "Alder", "Birch", "Cedar", "Dorn", "Elm", "Fern", "Gale", "Hale", "Isle", "Juno", "Kelp", "Lark", "Moss",
    "Nord", "Oslo", "Pine",
)  # fmt: skip


def create(path: Path) -> None:
    """Make the database at `path` if it isn't there; several processes may try at once, and one wins."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.draft-{os.getpid()}")
    draft.unlink(missing_ok=True)
    try:
        _fill(draft)
        # Unlike a rename, a link fails where another process was first: nobody's open file is replaced.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)


def _fill(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.executescript(SCHEMA)
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO categories VALUES (?, ?)", _categories())
        connection.executemany(
            "INSERT INTO products (id, name, category_id, price_cents, stock) VALUES (?, ?, ?, ?, ?)",
            _products(),
        )
        connection.execute(INDEX)
        connection.execute("COMMIT")
        # The journal mode is kept in the file; closing leaves no journal behind.
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


def _categories() -> Iterator[tuple[int, str]]:
    for number in range(CATEGORIES):
        yield number + 1, f"{_ROOMS[number % len(_ROOMS)]} {_KINDS[number // len(_ROOMS)]}s"


def _products() -> Iterator[tuple[int, str, int, int, int]]:
    chance = random.Random(20_484)
    for number in range(1, PRODUCTS + 1):
        category = chance.randrange(CATEGORIES)
        room, kind = _ROOMS[category % len(_ROOMS)], _KINDS[category // len(_ROOMS)]
        name = f"{chance.choice(_MAKERS)} {chance.choice(_LOOKS)} {room} {kind} No. {number}"
        price = max(99, round(chance.lognormvariate(8, 1)))
        yield number, name, category + 1, price, chance.randrange(200)
