"""Events: what other services publish so that caches are invalidated.

An event is a JSON object on the stream `<prefix>:events`, in the field `d`:

    {"id": "order-17", "scopes": [{"type": "product", "key": "42"}, {"tag": "category:5"}],
     "source": "shop", "reason": "price changed"}

A scope is one of `{"type", "key"}`, `{"tag"}`, `{"type"}`, `{"type", "pattern"}`, `{"everything": true}`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from stoker.core.errors import EventError, LinkError, ReplyError, UsageError
from stoker.core.keys import check_text
from stoker.core.log.fleet_log import Receipt
from stoker.core.log.scopes import Everything, Key, Pattern, Scope, Tag, Type, check_scope

if TYPE_CHECKING:
    from stoker.core.manager import CacheManager

#: The largest event, in bytes, and the most scopes it names.
MAX_EVENT_BYTES = 64 * 1024
MAX_EVENT_SCOPES = 1_000

#: The longest id, source and reason, in characters.
MAX_NOTE_LENGTH = 200

#: Events the stream keeps at most; the oldest go first.
MAX_STREAM_EVENTS = 1_000_000

#: Ids that one record of the log carries at most; the rest is found by the record's id.
MAX_TRACE_LENGTH = 32 * 1024


class _RawScope(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    type: str | None = None
    key: str | int | None = None
    tag: str | None = None
    pattern: str | None = None
    everything: bool | None = None


class _RawEvent(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    scopes: list[_RawScope]
    id: str | None = None
    source: str | None = None
    reason: str | None = None


_DECODER = msgspec.json.Decoder(_RawEvent)


class Event(msgspec.Struct, frozen=True):
    """An invalidation that another service asks for."""

    id: str
    """Leads from the event over its record in the log to the reloads that follow."""
    scopes: tuple[Scope, ...]
    source: str | None = None
    reason: str | None = None

    def pack(self) -> bytes:
        """Return the JSON form.

        Raises:
            UsageError: No consumer would accept it.
        """
        _check_count(self.scopes)
        for scope in self.scopes:
            check_scope(scope)
        for name, text in (("id", self.id), ("source", self.source), ("reason", self.reason)):
            _check_note(name, text)
        raw = _RawEvent([_to_raw(scope) for scope in self.scopes], self.id, self.source, self.reason)
        packed = msgspec.json.encode(raw)
        _check_size(packed)
        return packed


def make_event(
    *scopes: Scope, event_id: str | None = None, source: str | None = None, reason: str | None = None
) -> Event:
    """Make an event; it gets an id where none is given.

    Raises:
        UsageError: No consumer would accept it: no scope or too many, one that can't be written, a note
            that is empty or too long, a comma in the id, more than `MAX_EVENT_BYTES`.
    """
    event = Event(uuid.uuid4().hex if event_id is None else event_id, scopes, source, reason)
    event.pack()  # raises what `publish` would: here, where the mistake is
    return event


def parse_event(raw: bytes, *, fallback_id: str | None = None) -> Event:
    """Read an event.

    Args:
        raw: The JSON text.
        fallback_id: Its id where it brings none: its place on the stream, say.

    Raises:
        EventError: What is wrong, with the field.
    """
    try:
        _check_size(raw)
        event = _DECODER.decode(raw)
        json.loads(raw, object_pairs_hook=_check_names, parse_int=str)
        for name in ("id", "source", "reason"):
            _check_note(name, getattr(event, name))
        _check_count(event.scopes)
        scopes = tuple(_from_raw(number, scope) for number, scope in enumerate(event.scopes))
    except UsageError as error:
        raise EventError(str(error)) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise EventError(f"no event: {error}") from None
    return Event(event.id or fallback_id or uuid.uuid4().hex, scopes, event.source, event.reason)


async def apply_events(manager: CacheManager, events: Sequence[Event]) -> Receipt:
    """Append a batch of events to the log, as one record that carries their ids.

    The receipt is not acknowledged while the server is away: the caller keeps the events, and tries again.
    """
    scopes = list(dict.fromkeys(scope for event in events for scope in event.scopes))
    sources = sorted({event.source for event in events if event.source})
    reasons = sorted({event.reason for event in events if event.reason})
    return await manager.log.append(
        scopes,
        by=",".join(sources)[:MAX_NOTE_LENGTH] or manager.process,
        trace=",".join(event.id for event in events)[:MAX_TRACE_LENGTH],
        reason="; ".join(reasons)[:MAX_NOTE_LENGTH] or None,
        keep=False,
    )


async def publish(manager: CacheManager, event: Event) -> str | None:
    """Put an event on the stream; return its id there, or None when the server is away.

    `invalidate` is the surer way for a service that has a `CacheManager`: it is acknowledged.

    Raises:
        UsageError: It is no event, or one that no consumer would accept.
    """
    packed = _pack(event)
    try:
        stream_id: bytes = await manager.link.call(
            "XADD", manager.keys.events, "MAXLEN", "~", MAX_STREAM_EVENTS, "*", "d", packed
        )
    except (LinkError, ReplyError):
        return None
    return stream_id.decode()


def _pack(event: object) -> bytes:
    if not isinstance(event, Event):
        raise UsageError(f"{event!r:.100} is no event: make one with make_event(scope, …)")
    return event.pack()


def _check_size(packed: bytes) -> None:
    if len(packed) > MAX_EVENT_BYTES:
        raise UsageError(f"{len(packed)} bytes are more than an event may have ({MAX_EVENT_BYTES})")


def _check_count(scopes: Sequence[object]) -> None:
    if not 0 < len(scopes) <= MAX_EVENT_SCOPES:
        raise UsageError(f"scopes: an event names 1 to {MAX_EVENT_SCOPES}, not {len(scopes)}")


def _check_note(name: str, text: str | None) -> None:
    if text is None:
        return
    check_text(name, text)
    if not 0 < len(text) <= MAX_NOTE_LENGTH:
        raise UsageError(f"{name}: 1 to {MAX_NOTE_LENGTH} characters, not {len(text)}")
    if name == "id" and ("," in text or not text.isprintable()):
        raise UsageError("id: no commas and no control characters")


def _check_names(pairs: list[tuple[str, Any]]) -> None:
    """Refuse an object that gives a name twice: of two scopes one would be lost without a word."""
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice}: given twice in one object")


def _from_raw(number: int, raw: _RawScope) -> Scope:
    given = {name for name in raw.__struct_fields__ if getattr(raw, name) is not None}
    try:
        return check_scope(_choose(raw, given))
    except (UsageError, EventError) as error:
        raise EventError(f"scopes[{number}]: {error}") from None


def _choose(raw: _RawScope, given: set[str]) -> Scope:
    if given == {"type", "key"}:
        return Key(str(raw.type), str(raw.key))
    if given == {"tag"}:
        return Tag(str(raw.tag))
    if given == {"type"}:
        return Type(str(raw.type))
    if given == {"type", "pattern"}:
        return Pattern(str(raw.type), str(raw.pattern))
    if given == {"everything"} and raw.everything:
        return Everything()
    raise EventError(
        f"{sorted(given) or 'nothing'} names no scope: give type and key, a tag, a type, "
        "type and pattern, or everything: true"
    )


def _to_raw(scope: Scope) -> Any:
    match scope:
        case Key(cache_type, key):
            return _RawScope(type=cache_type, key=key)
        case Tag(tag):
            return _RawScope(tag=tag)
        case Type(cache_type):
            return _RawScope(type=cache_type)
        case Pattern(cache_type, pattern):
            return _RawScope(type=cache_type, pattern=pattern)
        case Everything():
            return _RawScope(everything=True)
