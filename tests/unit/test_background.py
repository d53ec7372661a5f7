"""What runs in the background goes on after it has raised, and ends when it is stopped."""

from __future__ import annotations

import asyncio

import pytest

from stoker.core.background import Background


async def test_what_raised_is_told_and_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    runs, again = 0, asyncio.Event()

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise RuntimeError("on purpose")
        again.set()
        await asyncio.Event().wait()

    background = Background(run, "stoker-test")
    background.start()
    await asyncio.wait_for(again.wait(), 10)
    assert "action=background_error task=stoker-test" in caplog.text
    assert await background.stop()
    assert not background.running
    assert runs == 2
