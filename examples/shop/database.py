"""The shop's database: SQLite in write-ahead mode, read by a few threads and written by one."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from examples.shop import queries
from examples.shop.catalog import CategoryPage, Change, Product
from examples.shop.ledger import Ledger, Origin
from examples.shop.seed import create

T = TypeVar("T")

DEFAULT_PATH = ".stoker/shop.sqlite"

#: How long a read takes at least, seconds: a local SQLite is faster than the databases that need a cache.
DEFAULT_QUERY_SECONDS = 0.005


class Database:
    """Queries and writes; the blocking calls run in threads of its own.

    Args:
        path: the file; it is made, and filled with the same 25,000 products everywhere, when it isn't there.
        origin: on whose behalf this process loads, for the [`Ledger`][examples.shop.ledger.Ledger].
        query_seconds: a read is answered no sooner. The time passes *after* the rows were read, as on a slow
            network: what is returned may be outdated by then, and the cache has to cope with that.
        readers: threads that read at once.
    """

    def __init__(
        self,
        path: Path,
        *,
        origin: Origin,
        query_seconds: float = DEFAULT_QUERY_SECONDS,
        readers: int = 4,
    ) -> None:
        create(path)
        self.path = path
        self.origin: Origin = origin
        self.query_seconds = query_seconds
        self.ledger = Ledger(path.with_name(f"{path.name}-loads"))
        self._connections: list[sqlite3.Connection] = []
        self._local = threading.local()
        self._readers = ThreadPoolExecutor(readers, "shop-read", self._connect)
        self._writer = ThreadPoolExecutor(1, "shop-write", self._connect)

    @classmethod
    def from_environment(cls, origin: Origin) -> Self:
        """The database at `$SHOP_DATABASE`, whose reads take `$SHOP_QUERY_MS` milliseconds."""
        milliseconds = os.environ.get("SHOP_QUERY_MS")
        seconds = float(milliseconds) / 1000 if milliseconds else DEFAULT_QUERY_SECONDS
        return cls(Path(os.environ.get("SHOP_DATABASE", DEFAULT_PATH)), origin=origin, query_seconds=seconds)

    async def product(self, product_id: int) -> Product | None:
        """A product with its category's average and five related ones; `None` if there is no such product."""
        self.ledger.count(self.origin, "product")
        return await self._answer(lambda connection: queries.read_product(connection, product_id))

    async def category(self, category_id: int, page: int = 1) -> CategoryPage | None:
        """A page of a category, counted from 1; `None` if there is no such page."""
        self.ledger.count(self.origin, "category")
        return await self._answer(lambda connection: queries.read_category(connection, category_id, page))

    async def answers(self) -> bool:
        """Whether the database can be read at all; counts as no load."""
        try:
            return await self._read(
                lambda c: c.execute("SELECT 1 FROM products LIMIT 1").fetchone() is not None
            )
        except sqlite3.Error:
            return False

    async def change_price(self, product_id: int, cents: int) -> Change | None:
        """Set a price and, in the same transaction, note the event to publish; `None`: no such product."""
        return await self._write(lambda connection: queries.change_price(connection, product_id, cents))

    async def sale(self, category_id: int, percent: int) -> Change | None:
        """Take `percent` off all prices of a category; one event names them all. `None`: no such category."""
        return await self._write(lambda connection: queries.sale(connection, category_id, percent))

    async def unpublished(self, *, older_than: float, limit: int = 500) -> list[tuple[str, bytes]]:
        """Events in the outbox that were written more than `older_than` seconds ago: ids with the events."""
        before = time.time() - older_than
        return await self._read(lambda connection: queries.unpublished(connection, before, limit))

    async def published(self, event_ids: Sequence[str]) -> None:
        """Take events that stand in the stream out of the outbox."""
        await self._write(lambda connection: queries.published(connection, event_ids))

    def close(self) -> None:
        """Wait for the calls under way and close the files."""
        self._readers.shutdown()
        self._writer.shutdown()
        for connection in self._connections:
            connection.close()
        self.ledger.close()

    async def _answer(self, query: Callable[[sqlite3.Connection], T]) -> T:
        end = time.monotonic() + self.query_seconds
        answer = await self._read(query)
        await asyncio.sleep(max(0.0, end - time.monotonic()))
        return answer

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._readers, self._in_transaction, query, "BEGIN"
        )

    async def _write(self, query: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._writer, self._in_transaction, query, "BEGIN IMMEDIATE"
        )

    def _connect(self) -> None:
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=10, check_same_thread=False)
        connection.execute("PRAGMA synchronous = NORMAL")
        self._local.connection = connection
        self._connections.append(connection)

    def _in_transaction(self, query: Callable[[sqlite3.Connection], T], begin: str) -> T:
        connection: sqlite3.Connection = self._local.connection
        connection.execute(begin)
        try:
            answer = query(connection)
        except BaseException:  # whatever it was, nothing of it is kept
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return answer
