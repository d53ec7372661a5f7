"""Entries of the event stream as they were read: events, malformed ones with the reason, lost ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stoker.core.errors import EventError
from stoker.core.events import MAX_EVENT_BYTES, Event, parse_event

#: How much of each reason is kept, in characters.
DEAD_REASON_LENGTH = 500

#: Fields of a malformed entry that are kept, besides `d`; all together have at most `MAX_EVENT_BYTES`.
DEAD_FIELDS = 100

Fields = Sequence[tuple[bytes, bytes]]
"""An entry's fields in order, as they stand there: a name may come twice."""

Message = tuple[bytes, Fields | None]
"""Id and fields as read; no fields when the message was removed from the stream since."""


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """A message that is no event."""

    id: bytes
    fields: Fields
    reason: str

    def to_fields(self, stream: str) -> list[bytes | str]:
        """Return it as the flat field list of an entry of the dead stream: enough to repair it, bounded."""
        room = MAX_EVENT_BYTES
        rest = list(self.fields)
        at = next((at for at, (name, _) in enumerate(rest) if name == b"d"), None)
        raw = b"" if at is None else rest.pop(at)[1][:room]
        flat: list[bytes | str] = ["d", raw, "reason", self.reason, "id", self.id, "stream", stream]
        room -= len(raw)
        for name, value in rest[:DEAD_FIELDS]:
            if len(name) >= room:
                break
            kept = value[: room - len(name)]
            flat += [b"field:" + name, kept]
            room -= len(name) + len(kept)
        return flat


@dataclass(slots=True)
class Batch:
    """Messages, told apart."""

    ids: list[bytes] = field(default_factory=list[bytes])
    events: list[Event] = field(default_factory=list[Event])
    dead: list[DeadMessage] = field(default_factory=list[DeadMessage])
    lost: list[bytes] = field(default_factory=list[bytes])
    """Ids of those that were removed from the stream since."""


def parse_entries(entries: Any) -> list[Message]:
    """Return entries of a stream from the server's own reply, in which no field is lost."""
    return [
        (entry[0], None if entry[1] is None else list(zip(entry[1][::2], entry[1][1::2], strict=True)))
        for entry in entries
        if entry is not None
    ]


def sort_messages(messages: Sequence[Message]) -> Batch:
    """Tell events from malformed messages, and from ones that are gone."""
    batch = Batch()
    for message_id, fields in messages:
        batch.ids.append(message_id)
        if not fields:
            batch.lost.append(message_id)
            continue
        try:
            batch.events.append(parse_event(_event_field(fields), fallback_id=message_id.decode()))
        except EventError as error:
            batch.dead.append(DeadMessage(message_id, fields, str(error)[:DEAD_REASON_LENGTH]))
    return batch


def _event_field(fields: Fields) -> bytes:
    """Return the one field that an entry has."""
    names = [name for name, _ in fields]
    if names == [b"d"]:
        return fields[0][1]
    others = [name for name in names if name != b"d"]
    named = ", ".join(name[:40].decode(errors="replace") for name in others[:5])
    if len(others) == len(names):
        raise EventError(f"no field d with the event's JSON, but {named}")
    if others:
        raise EventError(f"an entry has the field d alone, this one {named} too: one event for each entry")
    raise EventError(f"the field d is given {len(names)} times: one event for each entry")
