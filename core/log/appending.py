"""Appending to the invalidation log: whole calls as one record, and what many calls tell as one, too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from stoker.core.errors import LinkError, ReplyError, UsageError
from stoker.core.keys import Keys
from stoker.core.link.link import Link
from stoker.core.log.assurance import Assurance
from stoker.core.log.kept import Notes
from stoker.core.log.position import START, parse_position
from stoker.core.log.scopes import Copy, Scope, to_fields

T = TypeVar("T")

#: Scopes in one record at most; more become several records, so that what a check reads is bounded.
MAX_RECORD_SCOPES = 500

#: Times an append is tried when the log is found lost.
LOST_LOG_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an invalidation is answered with.

    It is acknowledged once it stands in the log: every strict read that begins later obeys it. While the
    server is away it is kept, and appended when it is back; then `log_id` is None.
    """

    log_id: str | None
    assured: bool = True
    """Whether the replicas and the disk that the configuration asks for have it, too. If not, it stands in
    the log and is obeyed, but a failover or restart may lose it: invalidate again to be sure."""

    @property
    def acknowledged(self) -> bool:
        """Whether it stands in the log, as surely as the configuration asks for."""
        return self.log_id is not None and self.assured


@dataclass(slots=True)
class _Told:
    """What one call tells, and who waits to hear where it stands."""

    scopes: Sequence[Scope | Copy]
    position: asyncio.Future[int]


class Appending:
    """Puts records at the log's end.

    Args:
        link: The connection.
        keys: Names the log.
        appended: Called with the position and the fields of each record of ours, once it stands.
        find_log: Called when the log is gone: waits until it was looked for anew.
        keep: Called with what could not be appended.
        assurance: Where appends must be made sure of, what does that.
    """

    def __init__(
        self,
        link: Link,
        keys: Keys,
        *,
        appended: Callable[[int, Sequence[str]], None],
        find_log: Callable[[], Awaitable[object]],
        keep: Callable[[Sequence[Scope | Copy], Notes], None],
        assurance: Assurance | None = None,
    ) -> None:
        self._link = link
        self._keys = keys
        self._appended = appended
        self._find_log = find_log
        self._keep = keep
        self._assurance = assurance
        self._told: list[_Told] = []
        self._under_way: set[asyncio.Task[Any]] = set()

    async def append(self, scopes: Sequence[Scope | Copy], notes: Notes) -> Receipt:
        """Append, as one record or as few as hold them all; the receipt names the last.

        Raises:
            LinkError: The server can't be reached, or loses the log again and again.
            ReplyError: It refuses.
        """
        receipt, noted = Receipt(None), [text for pair in notes.items() for text in pair]
        for start in range(0, len(scopes), MAX_RECORD_SCOPES):
            part = scopes[start : start + MAX_RECORD_SCOPES]
            done = await self._append_record([*to_fields(part), *noted])
            receipt = Receipt(done.log_id, done.assured and receipt.assured)
        return receipt

    async def append_or_keep(self, scopes: Sequence[Scope | Copy], notes: Notes) -> Receipt:
        """As `append`, but what can't be appended is kept. Whoever gives up waiting stops nothing."""
        return await self.carry_out(self._append_or_keep(scopes, notes), "stoker-log-append")

    async def _append_or_keep(self, scopes: Sequence[Scope | Copy], notes: Notes) -> Receipt:
        try:
            return await self.append(scopes, notes)
        except (LinkError, ReplyError):
            self._keep(scopes, notes)
            return Receipt(None)

    async def carry_out(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """See something to its end, also when the caller gives up waiting; `close` waits for it.

        It is the caller's own work, for a moment: it goes on in the caller's context.
        """
        task = asyncio.create_task(work, name=name)
        self._hold(task)
        return await asyncio.shield(task)

    def _hold(self, task: asyncio.Task[Any]) -> None:
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def tell(self, scopes: Sequence[Scope | Copy]) -> int:
        """Append together with whatever else is told in this turn of the event loop.

        Returns:
            The position of the record (the last one, where one doesn't hold them all); 0 when it could not
            be appended, and is kept.
        """
        to_fields(scopes)  # raises before anything is sent or kept
        told = _Told(scopes, asyncio.get_running_loop().create_future())
        self._told.append(told)
        if len(self._told) == 1:
            self._hold(asyncio.create_task(self._send_told(), name="stoker-log-tell"))
        return await told.position

    async def close(self, timeout: float = 1.0) -> None:
        """Let what is under way reach the log, for `timeout` seconds at most, and close what was opened."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=timeout)
        if all(task.done() for task in self._under_way):
            self._told = []  # whoever told them is gone, with the event loop
        if self._assurance is not None:
            await self._assurance.close()

    async def _send_told(self) -> None:
        told, self._told = self._told, []
        records: list[list[_Told]] = []
        room = 0
        for call in told:
            if len(call.scopes) > room:
                records.append([])
                room = MAX_RECORD_SCOPES
            records[-1].append(call)
            room -= len(call.scopes)
        await asyncio.gather(*(self._tell_one(calls) for calls in records))

    async def _tell_one(self, calls: list[_Told]) -> None:
        scopes = [scope for call in calls for scope in call.scopes]
        try:
            receipt = await self._append_or_keep(scopes, {})
            position = parse_position(receipt.log_id) if receipt.log_id else START
        except UsageError as error:  # another event loop's link
            for call in calls:
                if not call.position.done():
                    call.position.set_exception(error)
            return
        for call in calls:
            if not call.position.done():  # its caller may have given up
                call.position.set_result(position)

    async def _append_record(self, fields: list[str]) -> Receipt:
        command = ("XADD", self._keys.log, "NOMKSTREAM", "*", *fields)
        for _ in range(LOST_LOG_ATTEMPTS):
            assured = True
            if self._assurance is None:
                stream_id = await self._link.call(*command)
            else:
                stream_id, assured = await self._assurance.append(command)
            if stream_id is not None:
                self._appended(parse_position(stream_id), fields)
                return Receipt(stream_id.decode(), assured)
            await self._find_log()
        raise LinkError("the log was lost again and again")
