"""Strict reads by several callers in one or more processes, their loads, and invalidations meanwhile.

Modelled: one key. A read is three steps: the server runs the log check, then the fetch (anything may come
between), then the process takes both replies in and decides. Checks are asked for from the last record seen
when the read began, and cut off by a count. A miss loads: `born` is what the process had seen when the loader
started; the loader reads the source at some moment; the commit keeps an entry that was born later. Writers
commit to the source, append, and are told; a writer in a process notes its own record there. Some records
name another key, or are of a kind that readers don't know.

Not modelled: expiry (an absent entry is only a miss), joined loads (`flights`), sweeps (`sweep`), lost logs
(`epochs`). Tags, types and patterns differ from keys only in how a record is found to name the entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, NamedTuple, TypeAlias

from tests.models.explorer import Model, Rule, Step, put
from tests.models.kinds import LOST, STALE

ELSEWHERE = -1
"""The process of a writer that reads nothing."""

CHECK_COUNT = 1
"""Records that one check brings at most."""


class Entry(NamedTuple):
    """What is stored."""

    value: int
    born: int


class Process(NamedTuple):
    """What a process knows of the log."""

    seen: int = 0
    killer: int = 0
    """The last record it knows that names the key."""


class Writer(NamedTuple):
    """Changes the source (unless it names another key), appends, is told."""

    process: int
    record: str
    """What its record names: `key`, `other`, or `new`, a kind that no reader knows and that means the key."""
    left: int
    at: str = "idle"
    value: int = 0
    position: int = 0


class Caller(NamedTuple):
    """Reads the key, and loads it when there is none."""

    process: int
    left: int
    at: str = "idle"
    needs: int = 0
    """What was acknowledged when it began."""
    since: int = 0
    reach: int = 0
    """Up to where its check read."""
    whole: bool = True
    """Whether that was all there was."""
    found: Entry | None = None
    born: int = 0
    value: int = 0


class State(NamedTuple):
    """All there is."""

    source: int
    acked: int
    log: tuple[str, ...]
    """What each record names; its position is its place, from 1."""
    entry: Entry | None
    processes: tuple[Process, ...]
    writers: tuple[Writer, ...]
    callers: tuple[Caller, ...]


Steps: TypeAlias = Iterator[Step[State]]


class StrictReads(Model[State]):
    """See the module."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "read-checks",
            STALE,
            "two processes",
            "a read that goes to Redis asks the log first",
            "what another process invalidated is served",
        ),
        Rule(
            "check-after-begin",
            STALE,
            "one process",
            "reads share a check only if they began before it was sent",
            "a read relies on a check that ran before the invalidation it must obey",
        ),
        Rule(
            "cut-off",
            STALE,
            "two processes",
            "a check that was cut off by its count is not finished",
            "the killing record is in the part that was not read",
        ),
        Rule(
            "unknown-kind",
            STALE,
            "two processes",
            "a record of an unknown kind means everything",
            "an older process serves what a newer one invalidated",
        ),
        Rule(
            "born-at-start",
            STALE,
            "two processes",
            "`born` is where the log stood when the load began",
            "a value read before an invalidation is stored as if it were read after it",
        ),
        Rule(
            "own-append",
            STALE,
            "own appends",
            "one's own append enters the table, and does not move `seen`",
            "records of others between the last check and one's own are never read",
        ),
        Rule(
            "younger-stays",
            LOST,
            "two processes",
            "a commit never replaces an entry that was born later",
            "a slow load puts a dead value in the place of a live one",
        ),
    )

    def __init__(
        self, without: str | None, *, writers: tuple[Writer, ...], callers: tuple[Caller, ...]
    ) -> None:
        super().__init__(without)
        self._writers, self._callers = writers, callers
        self._read_checks = self.keeps("read-checks")
        self._check_after_begin = self.keeps("check-after-begin")
        self._cut_off = self.keeps("cut-off")
        self._killing = {"key", "new"} if self.keeps("unknown-kind") else {"key"}
        self._born_at_start = self.keeps("born-at-start")
        self._own_append = self.keeps("own-append")
        self._younger_stays = self.keeps("younger-stays")

    def start(self) -> State:
        """Nothing is stored, nothing invalidated."""
        processes = (Process(),) * (1 + max(caller.process for caller in self._callers))
        return State(0, 0, (), None, processes, self._writers, self._callers)

    def steps(self, state: State) -> Steps:
        """A step of any writer or caller."""
        for at, writer in enumerate(state.writers):
            yield from self._write(state, at, writer)
        for at, caller in enumerate(state.callers):
            yield from self._read(state, at, caller)

    def _write(self, state: State, at: int, writer: Writer) -> Steps:
        def but(changed: Writer) -> tuple[Writer, ...]:
            return put(state.writers, at, changed)

        if writer.at == "idle" and writer.left:
            value = state.source + (writer.record != "other")
            changed = writer._replace(at="committed", left=writer.left - 1, value=value)
            yield f"w{at} commits {value}", state._replace(source=value, writers=but(changed)), None
        elif writer.at == "committed":
            log = (*state.log, writer.record)
            changed = writer._replace(at="appended", position=len(log))
            yield (
                f"w{at} appends {len(log)}:{writer.record}",
                state._replace(log=log, writers=but(changed)),
                None,
            )
        elif writer.at == "appended":
            processes = state.processes
            if writer.process != ELSEWHERE:
                process = processes[writer.process]
                if writer.record in self._killing:
                    process = process._replace(killer=max(process.killer, writer.position))
                if not self._own_append:
                    process = process._replace(seen=max(process.seen, writer.position))
                processes = put(processes, writer.process, process)
            acked = state.acked if writer.record == "other" else max(state.acked, writer.value)
            changed = writer._replace(at="idle", value=0, position=0)
            yield (
                f"w{at} is told",
                state._replace(acked=acked, processes=processes, writers=but(changed)),
                None,
            )

    def _read(self, state: State, at: int, caller: Caller) -> Steps:
        def but(changed: Caller) -> tuple[Caller, ...]:
            return put(state.callers, at, changed)

        if caller.at == "idle" and caller.left:
            yield from self._begin(state, at, caller)
        elif caller.at == "sent":
            reach = min(len(state.log), caller.since + CHECK_COUNT)
            whole = reach - caller.since < CHECK_COUNT
            changed = caller._replace(at="checked", reach=reach, whole=whole)
            yield f"r{at} check reads to {reach}", state._replace(callers=but(changed)), None
        elif caller.at == "checked":
            changed = caller._replace(at="fetched", found=state.entry)
            yield f"r{at} fetches", state._replace(callers=but(changed)), None
        elif caller.at == "fetched":
            yield self._decide(state, at, caller)
        elif caller.at == "loading":
            changed = caller._replace(at="loaded", value=state.source)
            yield f"r{at} loads {state.source}", state._replace(callers=but(changed)), None
        elif caller.at == "loaded":
            yield self._store(state, at, caller)

    def _begin(self, state: State, at: int, caller: Caller) -> Steps:
        since = state.processes[caller.process].seen
        begun = caller._replace(at="sent", left=caller.left - 1, needs=state.acked, since=since)
        if not self._read_checks:
            begun = begun._replace(at="checked", reach=since, whole=True)
        yield f"r{at} begins", state._replace(callers=put(state.callers, at, begun)), None
        if self._check_after_begin:
            return
        for other in state.callers:
            if other.process == caller.process and other.at == "checked":
                shares = begun._replace(at="checked", reach=other.reach, whole=other.whole)
                callers = put(state.callers, at, shares)
                yield f"r{at} begins, shares a check that has run", state._replace(callers=callers), None

    def _decide(self, state: State, at: int, caller: Caller) -> Step[State]:
        process = state.processes[caller.process]
        for position in range(process.seen + 1, caller.reach + 1):
            names = state.log[position - 1] in self._killing
            process = process._replace(seen=position, killer=position if names else process.killer)
        found, after = caller.found, state._replace(processes=put(state.processes, caller.process, process))
        idle = Caller(caller.process, caller.left)
        if self._cut_off and not caller.whole:
            changed = caller._replace(at="sent", since=process.seen, reach=0, whole=True, found=None)
            return f"r{at} reads on", after._replace(callers=put(state.callers, at, changed)), None
        if found is not None and process.killer <= found.born:
            violation = STALE if found.value < caller.needs else None
            return (
                f"r{at} hits {found.value}",
                after._replace(callers=put(state.callers, at, idle)),
                violation,
            )
        changed = idle._replace(at="loading", born=process.seen)
        return f"r{at} misses", after._replace(callers=put(state.callers, at, changed)), None

    def _store(self, state: State, at: int, caller: Caller) -> Step[State]:
        entry = Entry(caller.value, caller.born if self._born_at_start else len(state.log))
        old, violation = state.entry, None
        if old is not None and old.born > entry.born:
            if self._younger_stays:
                entry = old
            else:
                violation = LOST if _alive(old, state.log) and not _alive(entry, state.log) else None
        callers = put(state.callers, at, Caller(caller.process, caller.left))
        return f"r{at} stores", state._replace(entry=entry, callers=callers), violation


def _alive(entry: Entry, log: tuple[str, ...]) -> bool:
    return all(record == "other" for record in log[entry.born :])


def _setup(writers: tuple[Writer, ...], callers: tuple[Caller, ...]) -> Callable[[str | None], StrictReads]:
    return lambda without: StrictReads(without, writers=writers, callers=callers)


SETUPS: Mapping[str, Callable[[str | None], StrictReads]] = {
    "two processes": _setup(
        (Writer(ELSEWHERE, "key", 1), Writer(ELSEWHERE, "new", 1)), (Caller(0, 2), Caller(1, 1))
    ),
    "one process": _setup((Writer(ELSEWHERE, "key", 2),), (Caller(0, 2), Caller(0, 1))),
    "own appends": _setup((Writer(ELSEWHERE, "key", 1), Writer(0, "other", 1)), (Caller(0, 3),)),
}

DEEP: Mapping[str, Callable[[str | None], StrictReads]] = {
    "two processes, more writes": _setup(
        (Writer(ELSEWHERE, "key", 2), Writer(ELSEWHERE, "new", 1)), (Caller(0, 2), Caller(1, 1))
    ),
    "three callers, two processes": _setup(
        (Writer(ELSEWHERE, "key", 1),), (Caller(0, 2), Caller(0, 1), Caller(1, 1))
    ),
}
