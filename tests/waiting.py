"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

POLL_SECONDS = 0.01


def wait_until(predicate: Callable[[], T], description: str, *, timeout: float = 20.0) -> T:
    """Return the first truthy answer of `predicate`; fail with `description` when there is none in time."""
    end = time.monotonic() + timeout
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout:g} s: {description}")
        time.sleep(POLL_SECONDS)


async def eventually(
    predicate: Callable[[], Any], description: str, *, timeout: float = 20.0, pause: float = POLL_SECONDS
) -> Any:
    """`wait_until` for tests on an event loop; the predicate may be async.

    With a `pause` of 0 it is looked at in each turn of the loop, also of one that is about to end.
    """
    end = time.monotonic() + timeout
    while True:
        answer = predicate()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout:g} s: {description}")
        await asyncio.sleep(pause)
