"""What older caches left behind, and those who take it over."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from stoker.core import (
    CacheManager,
    OldEntries,
    loader,
)
from tests.servers import RedisServer
from tests.waiting import eventually

LATER = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass
class Product:
    name: str
    category: int


@dataclass
class Answer:
    content: str
    provider_used: str
    cost_usd: float


class Source:
    """What the real loader asks; it counts how often."""

    def __init__(self) -> None:
        self.asked = 0

    async def load(self, product_id: str) -> Product:
        self.asked += 1
        return Product(f"new {product_id}", 7)


@loader(
    "tests.old_entries.tagged", cache_type="db_query", tags=lambda found: [f"category:{found['category']}"]
)
async def load_tagged(product_id: str) -> dict[str, Any]:
    return {"name": f"new {product_id}", "category": 7}


def write_old(server: RedisServer, name: str, value: Any, *, ttl: int | None = 600) -> None:
    """As `redis.setex(name, ttl, json.dumps(value))` in the older systems did."""
    client = server.client()
    client.set(name, value if isinstance(value, bytes) else json.dumps(value), ex=ttl)
    client.close()


def there(server: RedisServer, name: str) -> bool:
    client = server.client()
    found = bool(client.exists(name))
    client.close()
    return found


async def until_removed(server: RedisServer, name: str) -> None:
    """Nobody waits for a removal: it follows what was stored."""

    async def gone() -> bool:
        return not there(server, name)

    await eventually(gone, f"{name} is removed")


def old_of(cache: CacheManager, prefix: str, **options: Any) -> OldEntries:
    options.setdefault("until", LATER)
    return OldEntries(cache, f"{prefix}-old:{{key}}", **options)
