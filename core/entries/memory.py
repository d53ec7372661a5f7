"""The memory tier: entries in the process itself, held against the log at every hit.

A hit is served only while three things hold. The process knows all that was acknowledged a bounded time ago:
the last look at the log that was answered in full was *sent* no longer ago than the type's `memory_bound`.
Nothing that stands in the log since the entry was last found alive names it. And all records since are known.
None of it depends on being told that the connection is lost.
"""

from __future__ import annotations

import enum
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from stoker.core.clock import boottime
from stoker.core.counters import Counters, TypeCounters
from stoker.core.entries.codec import MISSING, UnstorableError, decode_payload, encode_value
from stoker.core.entries.entry import Entry
from stoker.core.entries.lookup import Lookup, State
from stoker.core.entries.memory_store import ENTRY_BYTES, MemoryStore
from stoker.core.entries.weight import weigh
from stoker.core.errors import EntryError
from stoker.core.log.fleet_log import Log
from stoker.core.log.position import START
from stoker.core.recipe import Recipe
from stoker.core.settings.policy import Policy

#: Stands for "whatever was asked for": the value is kept as it was given.
AS_GIVEN: Any = object()


#: What an item takes beside its value, its key and its place in the store: its objects and their numbers.
ITEM_BYTES = 498

#: The bound of what stands in for a server that is away: no look at the log is young enough for a hit.
NEVER_BOUND = -1.0

#: Entries that are looked at for their time to live whenever one is put.
SWEPT_AT_ONCE = 2


Name = tuple[str, str]
"""Cache type and key."""


class Kept(enum.Enum):
    """Whether an entry is in memory now, or why not."""

    YES = "yes"
    OVERTAKEN = "overtaken"
    """It is dead, or a load that began later was kept before."""
    TOO_HEAVY = "too heavy"
    """It alone takes more than all entries may."""


class Item:
    """An entry in memory."""

    __slots__ = (
        "bound",
        "checked",
        "copied",
        "counters",
        "entry",
        "fresh_until",
        "into",
        "kept_until",
        "name",
        "payload",
        "policy",
        "stands_in_since",
        "value",
        "version",
    )

    def __init__(
        self, name: Name, entry: Entry, policy: Policy, checked: int, counters: TypeCounters
    ) -> None:
        self.name = name
        self.counters = counters
        """Its type's."""
        self.entry = replace(entry, payload=b"")
        """Its header alone: the entry itself may be shared by all who fetched it together."""
        self.payload = entry.payload
        """Dropped once it was decoded, unless values of its type are made into several things."""
        self.policy = policy
        self.bound = policy.memory_bound
        self.checked = checked
        """The position on the log up to which it was found alive."""
        self.copied = START
        """The position of this process's own record that dropped all older copies of the entry."""
        self.version = -1
        """The log's version for which that holds without another look."""
        self.stands_in_since: float | None = None
        """Of what stands in for a server that is away: up to when the log was proved when it was put."""
        self.value: Any = MISSING
        self.into: Any = None
        """What the value was decoded into."""
        # Wall-clock times, told by the clock that hits are judged by.
        shift = boottime() - time.time()
        left = entry.fresh_until_ms / 1000 + shift
        if policy.memory_ttl is not None:
            left = min(left, boottime() + policy.memory_ttl)
        self.fresh_until = left
        self.kept_until = left if policy.in_redis else left + policy.kept_stale


class MemoryTier:
    """Entries of this process.

    Args:
        log: What entries are held against.
        counters: Where hits are counted.
        access: Where reads are noted, for the ranking of keys.
        entries: At most so many entries are kept.
        max_bytes: At most so many bytes.
    """

    def __init__(
        self,
        log: Log,
        counters: Counters,
        access: deque[tuple[str, str, Recipe | None]],
        *,
        entries: int,
        max_bytes: int,
    ) -> None:
        self._log = log
        self._counters = counters
        self._access = access
        self.store = MemoryStore[Name, Item](entries, max_bytes)
        self._slots = self.store.slots
        self._several: set[str] = set()
        """Types of which values were made into more than one thing: of these, payloads are kept."""

    def hit(self, cache_type: str, key: str, into: Any) -> Any:
        """Return the value of an entry that may be served within its bound; `MISSING` where there is none.

        What is served is counted here, as the caller's hit and as the tier's.
        """
        slot = self._slots.get((cache_type, key))
        if slot is None:
            return MISSING
        slot.visits += 1
        slot.seen = self.store.turn
        item = slot.item
        now, log = boottime(), self._log
        if now >= item.fresh_until or now - log.proved > item.bound:
            return MISSING
        if item.version != log.version and not self._found_alive(item):
            return MISSING
        value = item.value if item.into is into or item.into is AS_GIVEN else self.value_of(item, into)
        if value is not MISSING:
            counters = item.counters
            counters.hits += 1
            counters.memory_hits += 1
            self._access.append((cache_type, key, None))
        return value

    def look_up(self, cache_type: str, key: str) -> Lookup | None:
        """Return an entry that may be served within its bound."""
        item = self.store.get((cache_type, key))
        if item is None:
            return None
        now, log = boottime(), self._log
        if now >= item.fresh_until or now - log.proved > item.bound:
            return None
        if item.version != log.version and not self._found_alive(item):
            return None
        return Lookup(State.FRESH, b"", START, item.checked, item, item.entry)

    def judge(self, cache_type: str, key: str) -> Lookup:
        """Say how an entry that is kept nowhere else stands, by what is known of the log now."""
        item = self.store.get((cache_type, key))
        if item is None:
            return Lookup(State.ABSENT)
        log, rule, after = self._log, item.policy.after_rollback, item.checked
        old = item.entry.epoch != log.epoch
        lookup = Lookup(State.DEAD, b"", START, item.checked, item, item.entry)
        if old and rule == "dead":
            return lookup
        if old and rule == "revalidate":
            # Positions of another log say nothing of this one: all of the new epoch count.
            after = min(after, log.epoch_start)
        lookup.killer = self._killer(item, after)
        # What another log knew is of no use; but all of this one must be known.
        if lookup.killer or (max(after, log.epoch_start) if old else after) < log.known_from:
            return lookup
        now = boottime()
        if now >= item.kept_until:
            return Lookup(State.ABSENT)
        stale = now >= item.fresh_until or (old and rule != "trust")
        lookup.state = State.STALE if stale else State.FRESH
        return lookup

    def in_outage(self, cache_type: str, key: str, policy: Policy) -> Lookup | None:
        """Return what may be served while the server is away: for so long as the type's `on_outage` says."""
        item = self.store.get((cache_type, key))
        if item is None:
            return None
        if self._has_stood_in(item):
            self.store.remove(item.name)
            return None
        log, now = self._log, boottime()
        if (
            now - log.last_proved > policy.outage_seconds
            or item.entry.epoch != log.last_epoch
            or item.checked < log.known_from
            or now >= item.kept_until
            or self._killer(item, item.checked)
        ):
            return None
        state = State.FRESH if now < item.fresh_until else State.STALE
        return Lookup(state, b"", START, item.checked, item, item.entry)

    def value_of(self, item: Item, into: Any) -> Any:
        """Return an item's value as `into`; `MISSING` when it can't be made of it.

        What was decoded into the type of one caller may lack what another one asks for: without its payload
        it is no copy of the entry, and dropped.
        """
        entry, policy = item.entry, item.policy
        if entry.is_none:
            return None
        if item.into is AS_GIVEN or item.into == into:
            return item.value
        if item.value is not MISSING:
            self._several.add(item.name[0])
            if not item.payload and not self._encode_again(item):
                if self.store.peek(item.name) is item:
                    self.store.remove(item.name)
                return MISSING
        try:
            value = decode_payload(entry.flags, item.payload, into, policy.max_entry)
        except EntryError:
            return MISSING
        if not policy.memory_copies:
            # From now on everybody gets this one.
            item.value, item.into = value, into
            if item.name[0] not in self._several:
                item.payload = b""
            if self.store.peek(item.name) is item:
                self._keep(item)  # it weighs something else now
        return value

    def _encode_again(self, item: Item) -> bool:
        """Make the payload of an item anew, where its value is plain data and so lacks nothing of it."""
        if item.into is not Any:
            return False
        try:
            item.entry.flags, item.payload = encode_value(item.value, item.policy)
        except UnstorableError:  # a caller has put what can't be stored into the shared value
            return False
        if self.store.peek(item.name) is item:
            self._keep(item)
        return True

    def put(
        self,
        cache_type: str,
        key: str,
        entry: Entry,
        policy: Policy,
        checked: int,
        *,
        given: Any = MISSING,
        copied: int = START,
        stands_in: bool = False,
    ) -> Kept:
        """Keep an entry, if it is alive and not too large; say whether it is kept.

        Args:
            cache_type: The key's type.
            key: The key.
            entry: The entry.
            policy: The type's policy.
            checked: The position on the log up to which it was found alive; where it was born, for a load.
            given: The value itself, where it is to be kept as it is.
            copied: The position of this process's own record that dropped all older copies.
            stands_in: Whether it is served only while the server is away.
        """
        item = Item((cache_type, key), entry, policy, checked, self._counters.of(cache_type))
        item.copied = copied
        if stands_in:
            item.bound, item.stands_in_since = NEVER_BOUND, self._log.last_proved
        if given is not MISSING:
            item.value, item.into, item.payload = given, AS_GIVEN, b""
        held = self.store.peek((cache_type, key))
        if held is not None and self._is_younger(held, entry):
            return Kept.OVERTAKEN
        if checked < self._log.known_from or self._killer(item, checked):
            self.store.remove((cache_type, key))
            return Kept.OVERTAKEN
        return Kept.YES if self._keep(item) else Kept.TOO_HEAVY

    def remove(self, cache_type: str, key: str) -> bool:
        """Drop an entry; say whether it was there."""
        return self.store.remove((cache_type, key)) is not None

    def remove_dead(self, cache_type: str, which: str | Callable[[str], bool] = "") -> int:
        """Drop the entries of a type that nobody will be served any more; say how many there were.

        Args:
            cache_type: The type.
            which: What the keys of those that are looked at begin with, or what tells them.
        """
        names = [name for name in self._slots if name[0] == cache_type]
        if isinstance(which, str):
            names = [name for name in names if name[1].startswith(which)]
        else:
            names = [name for name in names if which(name[1])]
        spent = (State.DEAD, State.ABSENT)
        return sum(self.judge(*name).state in spent and self.remove(*name) for name in names)

    def touch(self, cache_type: str, key: str, entry: Entry, fresh_until_ms: int) -> None:
        """Give an entry another time to live, if it is what is held; a copy of another one is dropped."""
        item = self.store.peek((cache_type, key))
        if item is None:
            return
        held = item.entry
        if (held.epoch, held.born, held.created_ms) != (entry.epoch, entry.born, entry.created_ms):
            self.store.remove(item.name)
            return
        held.fresh_until_ms = fresh_until_ms
        fresh = Item(item.name, held, item.policy, item.checked, item.counters)
        item.fresh_until, item.kept_until = fresh.fresh_until, fresh.kept_until
        self.store.expire_at(item.name, item.kept_until)

    def _is_younger(self, held: Item, entry: Entry) -> bool:
        """Whether what is held takes precedence over another entry of the same key."""
        if self._has_stood_in(held):
            return False
        return held.entry.epoch == entry.epoch and held.entry.born > entry.born

    def _has_stood_in(self, item: Item) -> bool:
        """Whether an item stood in for a server that was back since: what that has counts."""
        since = item.stands_in_since
        return since is not None and since != self._log.last_proved

    def _keep(self, item: Item) -> bool:
        weight = weigh(item.name[1]) + ENTRY_BYTES + ITEM_BYTES
        if item.value is not MISSING:
            weight += weigh(item.value)
        if item.payload or item.value is MISSING:
            weight += weigh(item.payload)
        now = boottime()
        kept = self.store.put(item.name, item, weight, item.kept_until, now)
        self.store.sweep(now, SWEPT_AT_ONCE)
        return kept

    def _found_alive(self, item: Item) -> bool:
        """Whether nothing that was learnt since the last look kills an item; if so, note that."""
        log = self._log
        if item.entry.epoch != log.epoch or item.checked < log.known_from:
            return False
        if self._killer(item, item.checked):
            self.store.remove(item.name)
            return False
        item.checked, item.version = max(item.checked, log.seen), log.version
        return True

    def _killer(self, item: Item, after: int) -> int:
        log, name = self._log, item.name
        if killer := log.killer(*name, item.entry.tags, after):
            return killer
        if item.stands_in_since is not None:
            # What is kept to be told of copies is of those before it: a later one would have taken its place.
            return log.history.copy_killer(*name, max(after, item.copied))
        return log.copy_killer(*name, max(after, item.copied))
