"""Loads that nobody waits for keep to a pace."""

from __future__ import annotations

import asyncio

from stoker.core.loading.pacing import Pacing
from stoker.core.settings.policy import WarmPolicy


async def test_no_more_run_at_once_than_the_type_allows() -> None:
    pacing, policy, end = Pacing(), WarmPolicy(concurrency=2, loads_per_second=1e9), asyncio.Event()
    tasks = [asyncio.create_task(pacing.run("a", end.wait())) for _ in range(2) if pacing.admits("a", policy)]
    assert len(tasks) == 2
    assert not pacing.admits("a", policy)
    assert pacing.admits("b", policy), "each type has its own"
    end.set()
    await asyncio.gather(*tasks)
    assert pacing.admits("a", policy)


async def test_no_more_start_within_a_second_than_the_type_allows() -> None:
    pacing, policy = Pacing(), WarmPolicy(concurrency=8, loads_per_second=0.001)

    async def at_once() -> None:
        return

    admitted = 0
    for _ in range(100):
        if pacing.admits("a", policy):
            admitted += 1
            await pacing.run("a", at_once())
    assert admitted == 8, "the burst, and then no more for long"
