"""What is stored under a key, and why it may or may not be served; what an invalidation would hit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stoker.core.entries.codec import decode_value
from stoker.core.entries.entry import Entry, unpack_entry
from stoker.core.entries.lookup import State
from stoker.core.entries.tier import MAX_OVERHEAD_BYTES
from stoker.core.errors import EntryError, LinkError, ReplyError
from stoker.core.log.position import format_position, parse_position, position_ms
from stoker.core.log.scopes import Everything, Key, Pattern, Scope, Tag, Type, compile_glob

if TYPE_CHECKING:
    from stoker.core.manager import CacheManager

#: Records of the log that one step of an explanation reads.
RECORDS_COUNT = 1_000


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A record of the log, for people."""

    log_id: str
    at: float
    """Unix time, by the server's clock."""
    scopes: list[str]
    notes: dict[str, str]
    """Who, why, and the trace."""


@dataclass(slots=True)
class Explanation:
    """All that is known of one key."""

    cache_type: str
    key: str
    redis_key: str
    state: State
    because: str
    born: str | None = None
    epoch: str | None = None
    log_epoch: str | None = None
    created: float | None = None
    fresh_for: float | None = None
    """Seconds until it turns stale; negative when it has."""
    kept_for: float | None = None
    """Seconds until Redis drops it."""
    tags: list[str] = field(default_factory=list[str])
    stored_bytes: int = 0
    serializer: str | None = None
    compression: str | None = None
    value: object = None
    killed_by: LogRecord | None = None


async def explain(manager: CacheManager, cache_type: str, key: str) -> Explanation:
    """Explain how a key's entry stands: what is stored, born, dead or alive, and by which record.

    Raises:
        LinkError: The server can't be reached.
        UsageError: There is no such type.
    """
    policy = manager.policy(cache_type)
    if not await manager.log.read_back():
        raise LinkError("the log can't be read: is the server there? `stoker doctor` tells more")
    name = manager.keys.entry(cache_type, key)
    data, ttl_ms = await manager.link.calls(
        [("GETRANGE", name, 0, policy.max_entry + MAX_OVERHEAD_BYTES), ("PTTL", name)]
    )
    answer = Explanation(cache_type, key, name, State.ABSENT, "nothing is stored under this key")
    answer.log_epoch = f"{manager.log.epoch:016x}"
    if isinstance(data, ReplyError):
        answer.state, answer.because = State.UNDECODABLE, str(data)
        return answer
    lookup = manager.tier.judge(cache_type, key, data, policy)
    answer.state, answer.stored_bytes = lookup.state, len(data)
    if ttl_ms > 0:
        answer.kept_for = ttl_ms / 1000
    if lookup.entry is None:
        if data:
            answer.because = "the stored bytes are no entry; they read as a miss"
        return answer
    _describe_entry(answer, lookup.entry)
    if lookup.killer:
        answer.killed_by = await _find_killer(manager, lookup.entry, cache_type, key)
    answer.because = _why(answer, lookup.killer)
    if lookup.state is not State.DEAD:
        try:
            answer.value = decode_value(lookup.entry, object, policy.max_entry)
        except EntryError as error:
            answer.state, answer.because = State.UNDECODABLE, str(error)
    return answer


def _describe_entry(answer: Explanation, entry: Entry) -> None:
    answer.born, answer.epoch = format_position(entry.born), f"{entry.epoch:016x}"
    answer.created = entry.created_ms / 1000
    answer.fresh_for = entry.fresh_until_ms / 1000 - time.time()
    answer.tags = [tag.decode(errors="replace") for tag in entry.tags]
    answer.serializer, answer.compression = entry.serializer, entry.compression


def _why(answer: Explanation, killer: int) -> str:
    if answer.state is State.FRESH:
        return "within its TTL, and nothing it depends on was invalidated since it was born"
    if answer.epoch != answer.log_epoch and not killer:
        return "born in an older epoch: the server lost history since (restart, failover, flush)"
    if answer.state is State.STALE:
        return "past its TTL: served only while it is loaded again"
    if killer and answer.killed_by is None:
        return (
            f"invalidated as of {format_position(killer)}, and no record in the log names it: the type has "
            "had more patterns than are kept, or the record is not appended yet or was trimmed"
        )
    if killer:
        return f"invalidated by record {format_position(killer)}, after it was born"
    return "born before what is known of the log"


async def _find_killer(manager: CacheManager, entry: Entry, cache_type: str, key: str) -> LogRecord | None:
    """The first record after an entry's birth that names it."""
    start = format_position(entry.born)
    while True:
        records = await manager.link.call(
            "XRANGE", manager.keys.log, f"({start}", "+", "COUNT", RECORDS_COUNT
        )
        for stream_id, fields in records:
            if _names(fields, entry, cache_type, key):
                return make_record(stream_id, fields)
        if len(records) < RECORDS_COUNT:
            return None
        start = records[-1][0].decode()


def _names(fields: Sequence[bytes], entry: Entry, cache_type: str, key: str) -> bool:
    logical = f"{cache_type}:{key}"
    for name, value in zip(fields[::2], fields[1::2], strict=False):
        text = value.decode(errors="replace")
        if name.startswith(b"_") or name in {b"epoch", b"copy"}:
            continue  # it kills no entry
        if name == b"key":
            found = text == logical
        elif name == b"type":
            found = text == cache_type
        elif name == b"tag":
            found = value in entry.tags
        elif name == b"pattern":
            found = compile_glob(text).fullmatch(logical) is not None
        else:
            found = True
        if found:
            return True
    return False


def make_record(stream_id: bytes, fields: Sequence[bytes]) -> LogRecord:
    """A log record for people."""
    scopes: list[str] = []
    notes: dict[str, str] = {}
    for name, value in zip(fields[::2], fields[1::2], strict=False):
        text = value.decode(errors="replace")
        if name.startswith(b"_"):
            notes[name[1:].decode(errors="replace")] = text
        else:
            scopes.append(f"{name.decode(errors='replace')} {text}")
    position = parse_position(stream_id)
    return LogRecord(stream_id.decode(), position_ms(position) / 1000, scopes, notes)


async def newest_records(manager: CacheManager, count: int) -> list[LogRecord]:
    """The newest records of the log, youngest first: the audit trail.

    Raises:
        LinkError: The server can't be reached.
    """
    records = await manager.link.call("XREVRANGE", manager.keys.log, "+", "-", "COUNT", count)
    return [make_record(stream_id, fields) for stream_id, fields in records]


async def count_hit(manager: CacheManager, scopes: Sequence[Scope]) -> int:
    """Count the stored entries that an invalidation of the scopes would kill, without doing it.

    Walks all keys of the server: it takes time in proportion to them, and may meet one twice that the server
    moves meanwhile.

    Raises:
        LinkError: The server can't be reached.
    """
    tags = {scope.tag.encode() for scope in scopes if isinstance(scope, Tag)}
    total = 0
    async for found in manager.link.scan(manager.keys.all_entries):
        names = list(dict.fromkeys(found))
        rest = [name for name in names if not any(_covers(s, *manager.keys.parse(name)) for s in scopes)]
        total += len(names) - len(rest)
        if tags and rest:
            total += await _count_tagged(manager, rest, tags)
    return total


def _covers(scope: Scope, cache_type: str, key: str) -> bool:
    match scope:
        case Key():
            return (scope.cache_type, scope.key) == (cache_type, key)
        case Type():
            return scope.cache_type == cache_type
        case Pattern():
            glob = compile_glob(f"{scope.cache_type}:{scope.pattern}")
            return glob.fullmatch(f"{cache_type}:{key}") is not None
        case Everything():
            return True
        case Tag():
            return False


async def _count_tagged(manager: CacheManager, names: Sequence[bytes], tags: set[bytes]) -> int:
    total = 0
    for head in await manager.tier.heads(names):
        try:
            total += not tags.isdisjoint(unpack_entry(head).tags)
        except EntryError:
            continue
    return total
