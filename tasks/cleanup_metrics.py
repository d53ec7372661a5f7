"""The task that removes metrics nobody needs any more."""

from __future__ import annotations

from typing import Any

from stoker.core.maintenance.cleanup import RETENTION_SECONDS, cleanup_metrics
from stoker.tasks.runtime import AsyncTask


class CleanupMetrics(AsyncTask):
    """Removes old buckets, dead processes, types no longer configured, and orphans."""

    name = "stoker.cleanup_metrics"
    soft_time_limit = 240.0

    async def run(self, retention: float | None = None) -> dict[str, Any]:
        """Clean up once, keep buckets for `retention` seconds, and return how much of each kind was freed."""
        report = await cleanup_metrics(await self.manager(), retention=retention or RETENTION_SECONDS)
        return {
            **report.freed,
            "total": report.total,
            "scanned": report.scanned,
            "skipped": report.skipped,
            "reason": report.error,
        }
