"""What a manager with `CacheMetrics` does beside: it notes hits and misses, and looks up sizes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from stoker.core.background import Background
from stoker.core.errors import LinkError, ReplyError
from stoker.core.maintenance.sizes import known_sizes

if TYPE_CHECKING:
    from stoker.core.metrics.cache_metrics import CacheMetrics
    from stoker.core.parts import Parts

#: Seconds between two looks.
EVERY_SECONDS = 15.0


class Noting:
    """The background task of one manager.

    Args:
        manager: Whose types' sizes are looked up.
        metrics: Where hits and misses are noted.
    """

    def __init__(self, manager: Parts, metrics: CacheMetrics) -> None:
        self._manager = manager
        self._metrics = metrics
        self._background = Background(self._run, "stoker-metrics")

    async def start(self) -> None:
        """Begin; a second start does nothing."""
        self._background.start()

    async def stop(self) -> None:
        """Stop."""
        await self._background.stop()

    async def note(self) -> None:
        """Look once; sizes that can't be looked up stay as they were."""
        self._metrics.note()
        manager = self._manager
        if any(policy.in_redis for policy in manager.config.types.values()):
            with contextlib.suppress(LinkError, ReplyError):
                manager.known_sizes = await known_sizes(manager)

    async def _run(self) -> None:
        while True:
            await self.note()
            await asyncio.sleep(EVERY_SECONDS)
