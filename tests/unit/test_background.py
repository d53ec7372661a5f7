"""What runs in the background goes on after it has raised, and ends when it is stopped."""

from __future__ import annotations

import asyncio

import pytest

from stoker.core.background import Background, end_each


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


async def test_each_step_of_an_end_is_taken_and_the_first_error_raised() -> None:
    ended: list[str] = []

    async def end(name: str, error: BaseException | None = None) -> None:
        ended.append(name)
        if error is not None:
            raise error

    with pytest.raises(ValueError, match="first"):
        await end_each(
            lambda: end("a"),
            lambda: end("b", ValueError("first")),
            lambda: end("c", asyncio.CancelledError()),
            lambda: end("d", KeyError("second")),
            lambda: end("e"),
        )
    assert ended == list("abcde")
    await end_each()
