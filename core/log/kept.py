"""Invalidations that the server could not take: obeyed here at once, appended when it takes them again.

They are bounded: too many are widened, none is dropped. They are not acknowledged before they stand in the
log, and a process that ends before that takes them with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from stoker.core.background import spawn
from stoker.core.errors import LinkError, ReplyError
from stoker.core.log.history import History
from stoker.core.log.position import START
from stoker.core.log.scopes import EVERY_COPY, Copy, Scope, narrowest, to_fields

logger = logging.getLogger(__name__)

#: Scopes that are kept; more are widened.
MAX_KEPT_SCOPES = 10_000

#: Stands for the position of a record that is not in the log yet.
NOT_YET = START + 1

#: Characters of a note that several invalidations share in one record.
MAX_NOTE_LENGTH = 4_096

#: Pauses between attempts, in seconds: the first and the longest.
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0

Notes = Mapping[str, str]
Append = Callable[[Sequence[Scope | Copy], Notes], Awaitable[object]]


@dataclass(frozen=True, slots=True, eq=False)
class _Record:
    """One call's invalidations; another call's are others, also of the same scopes."""

    scopes: Sequence[Scope | Copy]
    notes: Notes


class KeptInvalidations:
    """The invalidations of this process that do not stand in the log yet.

    Args:
        append: Puts scopes with notes into the log; raises `LinkError` or `ReplyError` when it can't.
        ready: Waits until the server can be asked.
    """

    def __init__(self, append: Append, ready: Callable[[], Awaitable[None]]) -> None:
        self._append = append
        self._ready = ready
        self.pending: list[_Record] = []
        """What is kept; while this is empty, nothing of it can have killed anything."""
        self._scopes = 0
        self._overlay = History()
        self._drain: asyncio.Task[None] | None = None
        self._refused = False
        self._closed = False
        self._told_lost = False
        self.total = 0
        """Calls whose invalidations were kept so far."""

    def __len__(self) -> int:
        return self._scopes

    @property
    def empty(self) -> bool:
        """Whether all that was kept stands in the log."""
        return not self.pending

    def add(self, scopes: Sequence[Scope | Copy], notes: Notes) -> None:
        """Keep invalidations, and try to append them in the background.

        After `close` nothing is tried any more: they are obeyed here, and said to be lost.
        """
        self.total += 1
        self.pending.append(_Record(scopes, notes))
        self._scopes += len(scopes)
        if self._scopes > MAX_KEPT_SCOPES:
            wider = _widened([scope for record in self.pending for scope in record.scopes])
            self.pending = [_Record(wider, _shared_notes(self.pending))]
            self._scopes = len(wider)
            logger.warning(
                "action=kept_widened scopes=%d",
                len(wider),
                extra={"action": "kept_widened", "scopes": len(wider)},
            )
        self._overlay.add(NOT_YET, [text.encode() for text in to_fields(scopes)])
        if self._closed:
            self._tell_lost()
        else:
            self._start()

    def open(self) -> None:
        """Go on after `close`, with what is still kept."""
        self._closed = self._told_lost = False
        if self.pending:
            self._start()

    def killer(self, cache_type: str, key: str, tags: Sequence[bytes]) -> int:
        """`NOT_YET` when one of them names the entry, else 0."""
        return self._overlay.killer(cache_type, key, tags, START) if self.pending else START

    def copy_killer(self, cache_type: str, key: str) -> int:
        """`NOT_YET` when one of them names copies in memory of the entry, else 0."""
        return self._overlay.copy_killer(cache_type, key, START) if self.pending else START

    async def close(self) -> None:
        """Give up what could not be appended, and say so once."""
        self._closed = True
        if self._drain is not None:
            self._drain.cancel()
            await asyncio.gather(self._drain, return_exceptions=True)
        if self.pending:
            self._tell_lost()

    def _start(self) -> None:
        if self._drain is None or self._drain.done():
            self._drain = spawn(self._append_all(), "stoker-kept-invalidations")

    def _tell_lost(self) -> None:
        if not self._told_lost:
            self._told_lost = True
            logger.error("action=kept_lost scopes=%d", len(self), extra={"action": "kept_lost"})

    async def _append_all(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while self.pending:
            await self._ready()
            records = list(self.pending)
            scopes = list(dict.fromkeys(scope for record in records for scope in record.scopes))
            try:
                await self._append(scopes, _shared_notes(records))
            except (LinkError, ReplyError) as error:
                self._report(error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                continue
            # `add` may have put them together with newer ones meanwhile: those are appended once more.
            appended = set(records)
            self.pending = [record for record in self.pending if record not in appended]
            self._scopes = sum(len(record.scopes) for record in self.pending)
            self._refused = False
            self._overlay.clear()
            for record in self.pending:
                self._overlay.add(NOT_YET, [text.encode() for text in to_fields(record.scopes)])
            logger.warning(
                "action=kept_appended scopes=%d",
                len(scopes),
                extra={"action": "kept_appended", "scopes": len(scopes)},
            )

    def _report(self, error: Exception) -> None:
        """A server that refuses must be loud, but once."""
        if isinstance(error, ReplyError) and not self._refused:
            self._refused = True
            logger.error(
                "action=append_refused reason=%s",
                error,
                extra={"action": "append_refused", "kept": len(self)},
            )


def _widened(scopes: Sequence[Scope | Copy]) -> list[Scope | Copy]:
    """Half as many scopes as are kept at most, that cover all the given ones."""
    copies = [scope for scope in scopes if isinstance(scope, Copy)]
    others = [scope for scope in scopes if not isinstance(scope, Copy)]
    if len(copies) > MAX_KEPT_SCOPES // 4:
        copies = [EVERY_COPY]
    return [*copies, *narrowest(others, limit=MAX_KEPT_SCOPES // 4)]


def _shared_notes(records: Sequence[_Record]) -> dict[str, str]:
    """One set of notes for several records: each note's different texts, bounded."""
    texts: dict[str, dict[str, None]] = {}
    for record in records:
        for name, text in record.notes.items():
            texts.setdefault(name, {})[text] = None
    return {name: ",".join(found)[:MAX_NOTE_LENGTH] for name, found in texts.items()}
