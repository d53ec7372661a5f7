"""The task that computes hit rates."""

from __future__ import annotations

from typing import Any

from stoker.core.warming.rates import compute_hit_rates
from stoker.tasks.runtime import AsyncTask


class ComputeHitRates(AsyncTask):
    """Computes the hit rate of each type over several windows, from the fleet's counters."""

    name = "stoker.compute_hit_rates"
    soft_time_limit = 30.0

    async def run(self, windows: list[int] | None = None) -> dict[str, Any]:
        """Compute once over `windows` (seconds), and return how many rates there are."""
        manager = await self.manager()
        rates = await (compute_hit_rates(manager, tuple(windows)) if windows else compute_hit_rates(manager))
        return {"rates": len(rates)}
