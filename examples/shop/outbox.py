"""Events on their way from the database to Stoker's event stream.

A write and its event are committed in one transaction. The event is published at once; what could not be
published, because Redis was away or the shop was killed in between, is published later. An event may so be
published twice, which does no harm: at worst something is loaded once more.
"""

from __future__ import annotations

import asyncio

from examples.shop.catalog import Change
from examples.shop.database import Database
from stoker.core import CacheManager
from stoker.core.events import parse_event, publish

#: Seconds between two looks at the outbox.
PERIOD_SECONDS = 0.5

#: Seconds that the request which wrote an event has to publish it, before others do.
GRACE_SECONDS = 2.0


class Outbox:
    """Publishes events, and forgets those that stand in the stream."""

    def __init__(self, database: Database, cache: CacheManager) -> None:
        self._database = database
        self._cache = cache
        self._published: list[str] = []

    async def publish(self, change: Change) -> str | None:
        """Publish a change's event now; return its id on the stream. `None`: it will be published later."""
        return await self._publish(change.event_id, change.event)

    async def run(self) -> None:
        """Publish what was left over, and clean up, for ever."""
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            await self.step()

    async def step(self, *, grace: float = GRACE_SECONDS) -> int:
        """Publish events older than `grace` seconds; return how many the outbox still holds after that."""
        left = 0
        await self._forget()
        for event_id, event in await self._database.unpublished(older_than=grace):
            # In order, and not past a failure: Redis is away for the next one too.
            if left or not await self._publish(event_id, event):
                left += 1
        await self._forget()
        return left

    async def _publish(self, event_id: str, event: bytes) -> str | None:
        stream_id = await publish(self._cache, parse_event(event))
        if stream_id is not None:
            self._published.append(event_id)
        return stream_id

    async def _forget(self) -> None:
        published, self._published = self._published, []
        if published:
            await self._database.published(published)
