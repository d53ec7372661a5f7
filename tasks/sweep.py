"""The task that gives dead entries' memory back and cuts the log."""

from __future__ import annotations

import logging
import time
from typing import Any

from stoker.core.maintenance.sweep import sweep
from stoker.core.warming.runs import RunLock, add_totals, new_run_id, record_run
from stoker.tasks.runtime import AsyncTask

logger = logging.getLogger(__name__)

#: The job's name in run records.
JOB = "sweep"


class Sweep(AsyncTask):
    """Unlinks dead entries and cuts the invalidation log; one at a time in the fleet."""

    name = "stoker.sweep"
    soft_time_limit = 240.0

    async def run(self) -> dict[str, Any]:
        """Sweep once, record the run, and return what was freed.

        Raises:
            LinkError: The server can't be reached.
        """
        manager = await self.manager()
        run_id, started, lost = new_run_id(), time.time(), list[str]()

        def tell(reason: str) -> None:
            # Two sweeps at once do each other's work again, and no harm: this one goes on.
            lost.append(reason)
            logger.warning(
                "action=sweep_lock_lost run=%s reason=%s", run_id, reason, extra={"action": "sweep_lock_lost"}
            )

        async with RunLock(manager, JOB, "log", on_lost=tell) as lock:
            if not lock.held:
                await add_totals(manager, JOB, {"runs busy": 1})
                return {"status": "busy", "run": run_id}
            result = await sweep(manager)
        freed = {"scanned": result.scanned, "unlinked": result.unlinked, "trimmed": result.trimmed}
        told = {"status": result.status, **freed, "error": ", ".join(lost)}
        fields = {"started": f"{started:.3f}", "seconds": f"{result.seconds:.3f}", **told}
        await record_run(manager, JOB, run_id, fields)
        await add_totals(manager, JOB, {f"runs {result.status}": 1, **freed})
        return {**told, "run": run_id}
