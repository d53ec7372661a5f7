"""A supervisor with real children: order, deaths, stubbornness, orphans."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil

from stoker.worker.supervisor import Backoff, Spec, State, Supervisor
from tests.processes import is_gone
from tests.waiting import eventually, wait_until

QUICK = Backoff(first=0.02, longest=0.1)

#: Programs that live until somebody ends them; should nobody, not for ever.
SLEEP = "import time; time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {SLEEP}"
PARENT = (
    "import subprocess, sys, time\n"
    f"child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}])\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(600)"
)


class Recorder:
    """Remembers all that a supervisor tells."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.changes: list[tuple[str, State]] = []
        self.details: list[dict[str, Any]] = []

    def line(self, name: str, text: str) -> None:
        self.lines.append((name, text))

    def change(self, name: str, state: State, **details: Any) -> None:
        self.changes.append((name, state))
        self.details.append(details)

    def order(self, state: State) -> list[str]:
        return [name for name, found in self.changes if found is state]


def python(name: str, code: str, **more: Any) -> Spec:
    return Spec(name=name, command=(sys.executable, "-c", code), **more)


@asynccontextmanager
async def running(*specs: Spec, stop_seconds: float = 5.0) -> AsyncGenerator[tuple[Supervisor, Recorder]]:
    recorder = Recorder()
    supervisor = Supervisor(specs, recorder, QUICK, stop_seconds=stop_seconds)
    task = asyncio.create_task(supervisor.run())
    try:
        yield supervisor, recorder
    finally:
        supervisor.stop()
        await task


def process_of(supervisor: Supervisor, name: str) -> psutil.Process:
    process = supervisor.children[name].process
    assert process
    return psutil.Process(process.pid)


async def test_children_start_when_what_they_need_is_ready(tmp_path: Path) -> None:
    sign = tmp_path / "ready"

    async def signed() -> str | None:
        return None if sign.exists() else "no sign yet"

    server = python("server", SLEEP, ready=signed)
    async with running(server, python("worker", SLEEP, needs=frozenset({"server"}))) as (
        supervisor,
        recorder,
    ):
        await eventually(lambda: supervisor.children["server"].reason == "no sign yet", "a first look")
        assert supervisor.children["worker"].process is None
        sign.touch()
        await supervisor.all_ready()

    assert recorder.order(State.READY) == ["server", "worker"]


async def test_a_look_that_fails_in_any_way_is_the_reason_and_not_the_last(tmp_path: Path) -> None:
    sign = tmp_path / "ready"

    async def garbled() -> str | None:
        if not sign.exists():
            raise ValueError("not an answer")
        return None

    async with running(python("server", SLEEP, ready=garbled)) as (supervisor, _):
        child = supervisor.children["server"]
        await eventually(lambda: child.reason == "ValueError: not an answer", "the reason is told")
        sign.touch()
        await supervisor.all_ready()


async def test_stages_stop_from_the_last_to_the_first() -> None:
    specs = [python(name, SLEEP, stage=stage) for stage, name in enumerate(("server", "worker", "app"))]
    async with running(*specs) as (supervisor, recorder):
        await supervisor.all_ready()

    assert recorder.order(State.STOPPING) == ["app", "worker", "server"]
    assert recorder.order(State.STOPPED) == ["app", "worker", "server"]


async def test_a_killed_child_is_started_again() -> None:
    async with running(python("worker", SLEEP)) as (supervisor, recorder):
        await supervisor.all_ready()
        first = process_of(supervisor, "worker")
        first.kill()
        await eventually(lambda: recorder.order(State.READY).count("worker") == 2, "a second life")
        assert process_of(supervisor, "worker").pid != first.pid

    told = recorder.details[recorder.changes.index(("worker", State.FAILED))]
    assert told["how"] == "killed by SIGKILL"
    assert told["again_in"] == 0.02


async def test_one_that_keeps_dying_is_tried_for_ever_and_later_each_time() -> None:
    async with running(python("app", "raise SystemExit(3)")) as (_, recorder):
        await eventually(lambda: recorder.order(State.FAILED).count("app") >= 5, "five deaths")

    delays = [details["again_in"] for details in recorder.details if "again_in" in details]
    assert delays[:5] == [0.02, 0.04, 0.08, 0.1, 0.1]


async def test_a_program_that_is_not_there_is_told() -> None:
    async with running(Spec(name="app", command=("/nowhere/program",))) as (_, recorder):
        await eventually(lambda: State.FAILED in dict(recorder.changes).values(), "a failure")

    assert "No such file" in recorder.details[0]["how"]


async def test_a_deaf_child_is_killed_when_the_time_is_over() -> None:
    async with running(python("app", STUBBORN), stop_seconds=0.3) as (supervisor, recorder):
        await eventually(lambda: ("app", "deaf") in recorder.lines, "its line")
        process = process_of(supervisor, "app")

    assert is_gone(process)


async def test_a_second_signal_stops_at_once() -> None:
    async with running(python("app", STUBBORN), stop_seconds=600) as (_, recorder):
        await eventually(lambda: ("app", "deaf") in recorder.lines, "its line")
        os.kill(os.getpid(), signal.SIGINT)
        await eventually(lambda: ("app", State.STOPPING) in recorder.changes, "an orderly stop")
        os.kill(os.getpid(), signal.SIGINT)
        await eventually(lambda: ("app", State.STOPPED) in recorder.changes, "the end of it")


async def test_what_a_child_leaves_behind_goes_with_it() -> None:
    async with running(python("app", PARENT)) as (supervisor, recorder):
        await eventually(lambda: recorder.lines, "the grandchild's id")
        grandchild = psutil.Process(int(recorder.lines[0][1]))
        process_of(supervisor, "app").kill()
        await eventually(lambda: is_gone(grandchild), "the grandchild is gone")


async def test_lines_come_whole_and_long_ones_are_cut() -> None:
    code = "print('a' * 200_000); print('grün'); print('no end', end='')"
    async with running(python("app", code)) as (_, recorder):
        await eventually(lambda: ("app", "no end") in recorder.lines, "the last line")

    texts = [text for _, text in recorder.lines]
    assert "grün" in texts
    assert max(map(len, texts)) <= 64 * 1024


async def test_a_quiet_child_is_heard_when_it_has_died() -> None:
    async with running(python("server", "print('disk full'); raise SystemExit(1)", quiet=True)) as (
        _,
        recorder,
    ):
        await eventually(lambda: recorder.order(State.FAILED), "its death")

    told = recorder.details[recorder.changes.index(("server", State.FAILED))]
    assert told["last"] == ["disk full"]
    assert recorder.lines == []


def test_a_killed_supervisor_leaves_neither_children_nor_theirs(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from stoker.worker.output import Output\n"
        "from stoker.worker.supervisor import Spec, Supervisor\n"
        f"spec = Spec(name='app', command=(sys.executable, '-c', {PARENT!r}))\n"
        "asyncio.run(Supervisor([spec], Output(['app'], console=True)).run())\n"
    )
    log = tmp_path / "out"
    with log.open("w") as out:
        supervisor = psutil.Popen([sys.executable, "-c", code], stdout=out)
    # The supervisor's guard, the child, and the child's own child.
    wait_until(lambda: "│" in log.read_text(), "the grandchild's id")
    family = supervisor.children(recursive=True)
    assert len(family) == 3

    supervisor.kill()
    supervisor.wait()

    wait_until(lambda: all(is_gone(process) for process in family), "nobody is left")
