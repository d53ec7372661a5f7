"""Event consumers that run within a test, and what they leave in the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from stoker.core import CacheManager, Tag, make_event
from stoker.core.keys import Keys
from stoker.worker.consumer import EventConsumer, Subscription
from tests.servers import RedisServer


def subscribe(server: RedisServer, prefix: str, name: str = "one", **given: Any) -> Subscription:
    keys = Keys(prefix)
    defaults = Subscription(server.url, keys.events, keys.dead_events, name=name, block=0.05)
    return replace(defaults, **given)


@asynccontextmanager
async def consuming(manager: CacheManager, subscription: Subscription) -> AsyncGenerator[EventConsumer]:
    """A consumer that runs for as long as the block does."""

    async def connected() -> CacheManager:
        return manager

    consumer = EventConsumer(subscription, connected)
    task = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def publish(client: Any, prefix: str, tag: str, event_id: str = "e") -> bytes:
    raw = make_event(Tag(tag), event_id=event_id, source="test", reason="why").pack()
    message_id: bytes = client.xadd(f"{prefix}:events", {"d": raw})
    return message_id


def flat_records(client: Any, prefix: str) -> list[list[bytes]]:
    """The log's records of invalidations with fields that may stand there twice."""
    script = "return redis.call('XRANGE', KEYS[1], '-', '+')"
    return [fields for _, fields in client.eval(script, 1, f"{prefix}:log") if b"epoch" not in fields]


def records(client: Any, prefix: str) -> list[dict[bytes, bytes]]:
    """The log's records of invalidations, oldest first."""
    return [fields for _, fields in client.xrange(f"{prefix}:log") if b"epoch" not in fields]


def tags(client: Any, prefix: str) -> list[str]:
    return [fields[b"tag"].decode() for fields in records(client, prefix) if b"tag" in fields]


def pending(client: Any, prefix: str, group: str = "stoker") -> int:
    return int(client.xpending(f"{prefix}:events", group)["pending"])
