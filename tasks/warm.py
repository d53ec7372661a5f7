"""The task that warms one cache type."""

from __future__ import annotations

from typing import Any

from stoker.core.warming.runs import LOCK_SECONDS
from stoker.core.warming.warming import warm
from stoker.tasks.runtime import AsyncTask, current_trace

#: A run that was cut off holds its type's lock for so long; what takes its place asks again after that.
AGAIN_SECONDS = LOCK_SECONDS / 3


class Warm(AsyncTask):
    """Loads a type's hot keys again before they expire. One run a type at a time: the lock is in core."""

    name = "stoker.warm"
    max_retries = 6
    told_elsewhere = True

    async def run(
        self, cache_type: str, limit: int | None = None, seconds: float | None = None
    ) -> dict[str, Any]:
        """Warm `cache_type` once: `limit` hottest keys, starting no load after `seconds`."""
        run = await warm(
            await self.manager(), cache_type, limit=limit, seconds=seconds, trace=current_trace()
        )
        return {
            "cache_type": cache_type,
            "status": run.status,
            "run": run.id,
            "planned": run.planned,
            "loaded": run.loaded,
            "failed": run.failed,
            "skipped": run.skipped,
            "deferred": run.deferred,
        }

    def settle(self, outcome: dict[str, Any]) -> None:
        """Ask again when this message is a dead worker's: its lock outlives it by some seconds."""
        request: Any = self.request
        redelivered = request.delivery_info and request.delivery_info.get("redelivered")
        if outcome["status"] == "busy" and (redelivered or request.retries):
            raise self.retry(countdown=AGAIN_SECONDS)
