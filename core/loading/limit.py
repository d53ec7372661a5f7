"""What a loader may take: `load_timeout`, told by name to whoever waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from stoker.core.settings.policy import Policy


@asynccontextmanager
async def load_limit(deadline: float, policy: Policy, cache_type: str, key: str) -> AsyncGenerator[None]:
    """Cancel a loader that has not ended by `deadline`, by the event loop's clock.

    Raises:
        TimeoutError: It has not.
    """
    limit = asyncio.timeout_at(deadline)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise TimeoutError(
            f"{cache_type}:{key} was not loaded within load_timeout={policy.load_timeout:g} s: give the type "
            "more time if its loader needs it; two loaders that wait for each other's keys never end"
        ) from error
