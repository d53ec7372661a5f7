"""What is stored under a key, and why it may or may not be served; what an invalidation would hit."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stoker.core.codec import decode_value
from stoker.core.entry import HEADER_BYTES, Entry, header_length, unpack_entry
from stoker.core.errors import EntryError, LinkError, ReplyError
from stoker.core.position import format_position, parse_position, position_ms
from stoker.core.scopes import Everything, Key, Pattern, Scope, Tag, Type, compile_glob
from stoker.core.tier import MAX_OVERHEAD_BYTES, PEEK_BYTES, State

if TYPE_CHECKING:
    from stoker.core.manager import CacheManager

#: Keys that one step of a scan asks for.
SCAN_COUNT = 1_000

#: Records of the log that one step of an explanation reads.
RECORDS_COUNT = 1_000


@dataclass(frozen=True, slots=True)
class Record:
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
    killed_by: Record | None = None


async def explain(manager: CacheManager, cache_type: str, key: str) -> Explanation:
    """Explain how a key's entry stands: what is stored, born, dead or alive, and by which record.

    Raises:
        LinkError: The server can't be reached.
        UsageError: There is no such type.
    """
    policy = manager.policy(cache_type)
    if not await manager.log.catch_up():
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
    lookup = manager.judge(cache_type, key, data)
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
    if killer:
        return f"invalidated by record {format_position(killer)}, after it was born"
    return "born before what is known of the log"


async def _find_killer(manager: CacheManager, entry: Entry, cache_type: str, key: str) -> Record | None:
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
        if name.startswith(b"_") or name == b"epoch":
            continue
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


def make_record(stream_id: bytes, fields: Sequence[bytes]) -> Record:
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
    return Record(stream_id.decode(), position_ms(position) / 1000, scopes, notes)


async def newest_records(manager: CacheManager, count: int) -> list[Record]:
    """The newest records of the log, youngest first: the audit trail.

    Raises:
        LinkError: The server can't be reached.
    """
    records = await manager.link.call("XREVRANGE", manager.keys.log, "+", "-", "COUNT", count)
    return [make_record(stream_id, fields) for stream_id, fields in records]


async def count_hit(manager: CacheManager, scopes: Sequence[Scope]) -> int:
    """Count the stored entries that an invalidation of the scopes would kill, without doing it.

    Walks the keys of the types concerned (all of them for a tag): it takes time in proportion to them.

    Raises:
        LinkError: The server can't be reached.
    """
    total = 0
    for cache_type in manager.config.types:
        mine = [scope for scope in scopes if _concerns(scope, cache_type)]
        if not mine:
            continue
        tags = {scope.tag.encode() for scope in mine if isinstance(scope, Tag)}
        async for names in scan_entries(manager, cache_type):
            kept = [
                name
                for name in names
                if not any(_covers(scope, cache_type, manager.keys.key_of(name)) for scope in mine)
            ]
            total += len(names) - len(kept)
            if tags and kept:
                total += await _count_tagged(manager, kept, tags)
    return total


async def scan_entries(manager: CacheManager, cache_type: str) -> AsyncIterator[list[bytes]]:
    """Walk the Redis keys of a type's entries, in steps that never hold the server up; each once.

    Raises:
        LinkError: The server can't be reached.
    """
    cursor = b"0"
    seen: set[int] = set()
    while True:
        cursor, names = await manager.link.call(
            "SCAN", cursor, "MATCH", manager.keys.entry_pattern(cache_type), "COUNT", SCAN_COUNT
        )
        fresh = [name for name in names if hash(name) not in seen]
        seen.update(hash(name) for name in fresh)
        if fresh:
            yield fresh
        if cursor == b"0":
            return


def _concerns(scope: Scope, cache_type: str) -> bool:
    return isinstance(scope, Tag | Everything) or scope.cache_type == cache_type


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
    heads = await manager.link.calls([("GETRANGE", name, 0, PEEK_BYTES - 1) for name in names])
    total = 0
    for name, head in zip(names, heads, strict=True):
        if isinstance(head, ReplyError) or len(head) < HEADER_BYTES:
            continue
        whole = head
        if header_length(head) > len(head):
            whole = await manager.link.call("GETRANGE", name, 0, header_length(head) - 1)
        try:
            total += not tags.isdisjoint(unpack_entry(whole).tags)
        except EntryError:
            continue
    return total
