"""Named child processes: started in order, started again when they die, stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Protocol, cast

from stoker.worker.children import Guard, kill_group, spawn

#: All children are stopped within this time, by force where need be.
STOP_SECONDS = 9.5

#: What each later stage keeps of that time, whatever the stages before it took.
STAGE_RESERVE_SECONDS = 1.0

#: Between two looks at whether a child is ready.
PROBE_SECONDS = 0.05

#: A single look may take so long.
PROBE_LIMIT_SECONDS = 2.0

#: Longer lines of output are cut.
MAX_LINE = 64 * 1024

Probe = Callable[[], Awaitable[str | None]]
"""Answers None when a child is ready, else the reason why it is not."""


class State(StrEnum):
    """What a child is doing."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a child that died is started again.

    >>> [Backoff().delay(deaths) for deaths in (1, 2, 3, 9)]
    [0.25, 0.5, 1.0, 30.0]
    """

    first: float = 0.25
    """Seconds after the first death."""
    factor: float = 2.0
    longest: float = 30.0
    healthy: float = 30.0
    """A child that lived so many seconds starts over with the first delay."""

    def deaths(self, before: int, lifetime: float) -> int:
        """Deaths in a row, after one more: of a child that had lived for `lifetime` seconds."""
        return 1 if lifetime >= self.healthy else before + 1

    def delay(self, deaths: int) -> float:
        """Seconds to wait after so many deaths in a row."""
        return min(self.longest, self.first * self.factor ** min(deaths - 1, 64))


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One child: what to run, what it needs, and when to stop it."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Set on top of this process's environment."""
    folder: Path | None = None
    """Its working directory."""
    needs: frozenset[str] = frozenset()
    """Children that must be ready before this one is started the first time."""
    stage: int = 0
    """Children are stopped from the highest stage down; those of one stage together."""
    ready: Probe | None = None
    """When it is ready; None: once it has started."""
    quiet: bool = False
    """Its output is shown only when it has died, and then the last lines of it."""


class Listener(Protocol):
    """Who is told what the children do."""

    def line(self, name: str, text: str) -> None:
        """A child has written a line."""

    def change(self, name: str, state: State, **details: Any) -> None:
        """A child has changed its state."""


class Child:
    """One child process and all its lives."""

    def __init__(self, spec: Spec, listener: Listener, guard: Guard, backoff: Backoff) -> None:
        self.spec = spec
        self.state = State.WAITING
        self.is_ready = asyncio.Event()
        self.reason = "it has not been started"
        self.process: subprocess.Popen[bytes] | None = None
        self._listener = listener
        self._guard = guard
        self._backoff = backoff
        self._exited = asyncio.Event()
        self._stop = asyncio.Event()
        self._last: deque[str] = deque(maxlen=20)

    async def run(self, needed: Sequence[Child]) -> None:
        """Live, again and again, until told to stop."""
        for other in needed:
            await self._unless_stopped(other.is_ready.wait())
        deaths = 0
        while not self._stop.is_set():
            began = time.monotonic()
            end = await self._live()
            if self._stop.is_set():
                break
            lifetime = time.monotonic() - began
            deaths = self._backoff.deaths(deaths, lifetime)
            delay = self._backoff.delay(deaths)
            self.reason = f"it has died {deaths} times in a row, the last time with {end}"
            last = list(self._last) if self.spec.quiet else []
            self._change(State.FAILED, how=end, after=round(lifetime, 1), again_in=delay, last=last)
            await self._unless_stopped(asyncio.sleep(delay))
        self._change(State.STOPPED)

    async def stop(self, until: float) -> None:
        """Ask it to stop, and make it stop at `until` (a time of the monotonic clock)."""
        self._stop.set()
        if not self.process:
            return
        self._change(State.STOPPING)
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._exited.wait()
        except TimeoutError:
            self.kill()
            await self._exited.wait()

    def kill(self) -> None:
        """Kill it and all that it started."""
        self._stop.set()
        if self.process:
            kill_group(self.process.pid)

    def reap(self) -> None:
        """Take note if the process has ended; called at each SIGCHLD."""
        if self.process and self.process.poll() is not None:
            self._exited.set()

    async def _live(self) -> str:
        """One life, from start to end; answers how it ended."""
        self._exited.clear()
        self._last.clear()
        spec = self.spec
        try:
            process = spawn(spec.command, environment={**os.environ, **spec.environment}, folder=spec.folder)
        except OSError as error:
            return f"can't be started: {error}"
        self.process = process
        self._guard.add(process.pid)
        self._change(State.STARTING, process_id=process.pid)
        lines = _Lines(self._heard)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: lines, cast("IO[bytes]", process.stdout)
        )
        probing = asyncio.create_task(self._until_ready())
        self.reap()  # it may have ended before its pid was known here
        await self._exited.wait()
        probing.cancel()
        self.is_ready.clear()
        kill_group(process.pid)  # what it may have left behind
        self._guard.remove(process.pid)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await lines.ended.wait()
        transport.close()
        self.process = None
        return ending(process.returncode)

    async def _until_ready(self) -> None:
        began = time.monotonic()
        while self.spec.ready:
            try:
                async with asyncio.timeout(PROBE_LIMIT_SECONDS):
                    problem = await self.spec.ready()
            except TimeoutError as error:
                problem = str(error) or "no answer in time"
            except OSError as error:
                problem = str(error) or type(error).__name__
            except Exception as error:  # noqa: BLE001 - a look that fails in any way is no answer; it is said
                problem = f"{type(error).__name__}: {error}"
            if problem is None:
                break
            self.reason = problem
            await asyncio.sleep(PROBE_SECONDS)
        self.is_ready.set()
        self._change(State.READY, after=round(time.monotonic() - began, 2))

    async def _unless_stopped(self, what: Awaitable[Any]) -> None:
        tasks = [asyncio.ensure_future(what), asyncio.ensure_future(self._stop.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    def _heard(self, text: str) -> None:
        self._last.append(text)
        if not self.spec.quiet:
            self._listener.line(self.spec.name, text)

    def _change(self, state: State, **details: Any) -> None:
        self.state = state
        self._listener.change(self.spec.name, state, **details)


class _Lines(asyncio.Protocol):
    """Cuts what comes through a pipe into lines."""

    def __init__(self, heard: Callable[[str], None]) -> None:
        self.ended = asyncio.Event()
        self._heard = heard
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._heard(line[:MAX_LINE].decode(errors="replace").rstrip("\r"))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        if self._rest:
            self._heard(self._rest.decode(errors="replace"))
        self.ended.set()


def ending(code: int) -> str:
    """Say how a process ended, by its return code.

    >>> ending(-9), ending(1)
    ('killed by SIGKILL', 'exit code 1')
    """
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


class Supervisor:
    """Keeps children alive until SIGINT, SIGTERM or SIGHUP; a second one of these stops at once.

    Args:
        specs: The children, in the order in which they are to be started.
        listener: Told of every line and every change of state.
        backoff: How long to wait before a child is started again.
        stop_seconds: All children are stopped within this time.
    """

    def __init__(
        self,
        specs: Sequence[Spec],
        listener: Listener,
        backoff: Backoff | None = None,
        *,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self._guard = Guard()
        self._stop_seconds = stop_seconds
        self.children = {
            spec.name: Child(spec, listener, self._guard, backoff or Backoff()) for spec in specs
        }
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Start all, keep them alive, and return when all have been stopped."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.stop)
        try:
            async with asyncio.TaskGroup() as group:
                for child in self.children.values():
                    needed = [self.children[name] for name in sorted(child.spec.needs)]
                    group.create_task(child.run(needed))
                await self._stopping.wait()
                await self._stop_in_order()
        finally:
            for child in self.children.values():
                child.kill()
            self._guard.close()

    async def all_ready(self) -> None:
        """Wait until each child is ready."""
        for child in self.children.values():
            await child.is_ready.wait()

    def stop(self) -> None:
        """Stop in order; called a second time, at once."""
        if self._stopping.is_set():
            for child in self.children.values():
                child.kill()
        self._stopping.set()

    async def _stop_in_order(self) -> None:
        deadline = time.monotonic() + self._stop_seconds
        stages = sorted({child.spec.stage for child in self.children.values()}, reverse=True)
        for later, stage in zip(reversed(range(len(stages))), stages, strict=True):
            until = deadline - later * STAGE_RESERVE_SECONDS
            together = [child for child in self.children.values() if child.spec.stage == stage]
            await asyncio.gather(*(child.stop(until) for child in together))

    def _reap(self) -> None:
        for child in self.children.values():
            child.reap()
