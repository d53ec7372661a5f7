"""The bounded store in the process's own memory: what it keeps is what will be asked for again.

Entries are kept in two queues. New ones enter the *window*; what is asked for while it is there moves on to
the *main* queue, the rest is evicted: a scan passes through the window and leaves the main queue alone.
A hit moves nothing: it leaves a mark on the entry, which is looked at when the entry reaches the head of its
queue. Of what is evicted a *ghost* remains: when it was last asked for. A key that comes back goes straight
to the main queue if it came back sooner than the entry that would have to leave was last asked for; in a loop
over more keys than fit that is never so, and what is there stays. The window's size is learnt from keys that
come back just after they were evicted: from the window, it was too small; from the main queue, too large.

Time is counted in *turns*: one for each entry that is put. The design has ideas of S3-FIFO, LIRS and ARC.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Generic, TypeVar

from stoker.core.entries.ghosts import Ghosts, distance
from stoker.core.entries.slots import Queue, Slot

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

#: What the store takes for each entry beside its key and item, in bytes: its place in the dictionary and in a
#: queue, its numbers, its ghosts. Between 190 while the store fills for the first time and 320 at the worst.
ENTRY_BYTES = 256

#: Hits that count when an entry reaches the head of the main queue: each lets it pass the queue once more.
MAX_VISITS = 7

#: Entries in use that one look for a victim passes by.
MAX_PASSED = 4

#: Entries in use that may stay in the window when one is put.
MAX_RENEWALS = 8

#: The window's share of the entries: at first, at least, at most.
FIRST_SHARE, LEAST_SHARE, LARGEST_SHARE = 0.05, 0.01, 0.8

#: "Just evicted": as many evictions from its queue ago as this share of the entries.
NEAR_SHARE = 0.05

#: A key that came back once proves less than the entries that stayed: its distance counts so many times.
CAUTION = 2

#: What nobody asked for in so many turns for each entry of the store makes room for any other.
FORGOTTEN_TURNS = 20


class MemoryStore(Generic[K, T]):
    """Entries by key, bounded in number and in bytes; for one thread, without I/O, in bounded steps.

    A reader in a hurry does by hand what `get` does:

        slot = store.slots.get(key)
        if slot is not None:
            slot.visits += 1
            slot.seen = store.turn
            item = slot.item

    `slots` is one dictionary for the store's whole life; only the store changes it.
    """

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        if max_entries < 1 or max_bytes < 1:
            raise ValueError("a store has room for at least one entry and one byte")
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self.slots: dict[K, Slot[K, T]] = {}
        self.turn = 0
        self.bytes = 0
        """The sum of the entries' weights."""
        self.evictions = 0
        """Entries that made room for others."""
        self.expirations = 0
        """Entries that were dropped because their time was over."""
        self.rejections = 0
        """Entries larger than the store."""
        self.share = FIRST_SHARE
        """The window's share, learnt."""
        self._window: Queue[K, T] = Queue()
        self._main: Queue[K, T] = Queue()
        self._ghosts = Ghosts(0)
        self._left_window = self._left_main = 0
        self._hand: Slot[K, T] = self._window.ends
        self._looked_in_vain = False

    def __len__(self) -> int:
        return len(self.slots)

    def __contains__(self, key: object) -> bool:
        return key in self.slots

    def get(self, key: K) -> T | None:
        """Return an entry and remember that it was asked for; None where there is none."""
        slot = self.slots.get(key)
        if slot is None:
            return None
        slot.visits += 1
        slot.seen = self.turn
        return slot.item

    def peek(self, key: K) -> T | None:
        """Return an entry without leaving a mark; None where there is none."""
        slot = self.slots.get(key)
        return None if slot is None else slot.item

    def put(self, key: K, item: T, weight: int, expires: float = math.inf, now: float = -math.inf) -> bool:
        """Keep an entry in place of what the key had; it stays at least until the next one is put.

        Args:
            key: Its key.
            item: What is kept.
            weight: Bytes that it takes, with its key and its place here.
            expires: When it is of no use any more.
            now: The time, on the same clock: what has expired makes room first.

        Returns:
            Whether it was kept: False where it alone is larger than the store; the key then has nothing.
        """
        if weight > self.max_bytes:
            self.remove(key)
            self.rejections += 1
            return False
        self.turn += 1
        self._looked_in_vain = False
        slot: Slot[K, T] | None = self.slots.get(key)
        if slot is not None:
            self._replace(slot, item, weight, expires)
        else:
            slot = Slot()
            slot.key, slot.item, slot.weight, slot.expires = key, item, weight, expires
            slot.visits, slot.seen = 0, self.turn
            self._enter(slot, now)
        self._make_room(slot, now)
        return True

    def remove(self, key: K) -> T | None:
        """Drop an entry and return it; None where there was none."""
        slot = self.slots.get(key)
        if slot is None:
            return None
        self._drop(slot)
        return slot.item

    def expire_at(self, key: K, expires: float) -> bool:
        """Change when an entry is of no use any more; say whether there is one."""
        slot = self.slots.get(key)
        if slot is not None:
            slot.expires = expires
        return slot is not None

    def sweep(self, now: float, budget: int = 100) -> int:
        """Look at the next few entries and drop those that have expired; say how many were dropped.

        Args:
            now: The time.
            budget: Entries that are looked at, at most.
        """
        dropped = 0
        slot = self._hand
        for _ in range(min(budget, len(self.slots) + 2)):
            following = slot.after
            if slot is self._window.ends:
                following = self._main.ends.after
            elif slot is self._main.ends:
                following = self._window.ends.after
            elif slot.expires <= now:
                self._drop(slot)
                dropped += 1
            slot = following
        self._hand = slot
        self.expirations += dropped
        return dropped

    def _enter(self, slot: Slot[K, T], now: float) -> None:
        """Give a new entry its queue: the main one if its key has come back early enough."""
        key = slot.key
        memory = self._ghosts.recall(key)
        self.slots[key] = slot
        self.bytes += slot.weight
        if memory is not None and self._came_back(*memory, now):
            slot.in_main = True
            self._main.push(slot)
        else:
            slot.in_main = False
            self._window.push(slot)

    def _came_back(self, seen: int, left: int, now: float) -> bool:
        """Learn from a ghost; whether its key is worth more than what would leave the main queue for it."""
        entries = len(self.slots)
        near = max(8.0, entries * NEAR_SHARE)
        if left & 1:
            if distance(self._left_main, left >> 1) & 0x7FFF_FFFF <= near:
                self.share = max(LEAST_SHARE, self.share - 1 / entries)
        elif distance(self._left_window, left >> 1) & 0x7FFF_FFFF <= near:
            self.share = min(LARGEST_SHARE, self.share + 1 / entries)
        if entries <= self.max_entries and self.bytes <= self.max_bytes:
            return True
        victim = self._victim(now, None)
        if victim is None:
            return False
        if distance(self.turn, seen) * CAUTION >= self.turn - victim.seen and victim.expires > now:
            return False
        self._evict(victim, now)
        return True

    def _replace(self, slot: Slot[K, T], item: T, weight: int, expires: float) -> None:
        queue = self._main if slot.in_main else self._window
        if slot is self._hand:
            self._hand = slot.after
        queue.renew(slot)
        queue.bytes += weight - slot.weight
        self.bytes += weight - slot.weight
        slot.item, slot.weight, slot.expires = item, weight, expires
        slot.visits += 1
        slot.seen = self.turn

    def _make_room(self, newest: Slot[K, T], now: float) -> None:
        """Evict until the bounds hold again, never the newest entry, and keep the window to its share."""
        window, moves = self._window, MAX_RENEWALS
        while True:
            entries = len(self.slots)
            full = entries > self.max_entries or self.bytes > self.max_bytes
            first = window.ends.after
            # One more while there is room: what was evicted for it must not be made up for at once.
            length = window.length - (not full)
            if first is not newest and (
                length > self.share * entries or (full and window.bytes > self.share * self.bytes)
            ):
                if moves:
                    moves -= not self._leave_window(first, newest, now, full=full)
                elif full:
                    self._evict(first, now)
                else:
                    return
            elif full:
                self._looked_in_vain = False
                self._evict(self._victim(now, newest) or self._first(newest), now)
            else:
                return

    def _leave_window(self, slot: Slot[K, T], newest: Slot[K, T], now: float, *, full: bool) -> bool:
        """Move the window's first entry on, or evict it; say whether any entry was evicted."""
        if slot.expires <= now:
            self._evict(slot, now)
            return True
        if not full:
            self._promote(slot)
            return False
        victim = self._victim(now, newest)
        if slot.visits:
            if victim is None:  # all of the main queue is in use: it waits once more
                slot.visits = 0
                self._step_over(slot)
                self._window.renew(slot)
                return False
        elif victim is None or (
            self.turn - victim.seen <= FORGOTTEN_TURNS * len(self.slots) and victim.expires > now
        ):
            self._evict(slot, now)
            return True
        self._evict(victim, now)
        self._promote(slot)
        return True

    def _victim(self, now: float, newest: Slot[K, T] | None) -> Slot[K, T] | None:
        """The entry that would leave the main queue next; None while all that were looked at are in use."""
        if self._looked_in_vain:
            return None
        main = self._main
        ends = main.ends
        for _ in range(MAX_PASSED):
            slot = ends.after
            if slot is ends or slot is newest:
                return None
            visits = slot.visits
            if not visits or slot.expires <= now:
                return slot
            slot.visits = (visits if visits < MAX_VISITS else MAX_VISITS) - 1  # noqa: FURB136  in half the time
            if slot is self._hand:
                self._hand = slot.after
            main.renew(slot)
        slot = ends.after
        self._looked_in_vain = bool(slot.visits)
        return None if slot.visits or slot is newest else slot

    def _first(self, newest: Slot[K, T]) -> Slot[K, T]:
        """Some entry other than the newest."""
        for queue in (self._main, self._window):
            slot = queue.ends.after
            if slot is newest:
                slot = slot.after
            if slot is not queue.ends:
                return slot
        raise AssertionError("one entry that fits is alone and over the bounds")

    def _promote(self, slot: Slot[K, T]) -> None:
        self._step_over(slot)
        self._window.unlink(slot)
        slot.visits = 0
        slot.in_main = True
        self._main.push(slot)

    def _step_over(self, slot: Slot[K, T]) -> None:
        """Keep the sweeping hand where it is when a slot moves."""
        if slot is self._hand:
            self._hand = slot.after

    def _evict(self, slot: Slot[K, T], now: float) -> None:
        """Drop an entry to make room, and remember of it when it was last asked for."""
        self._drop(slot)
        if slot.expires <= now:
            self.expirations += 1
            return
        self.evictions += 1
        ghosts = self._ghosts
        if ghosts.cells < 2 * len(self.slots):  # the store has grown; what the old ones knew is lost
            ghosts = self._ghosts = Ghosts(len(self.slots))
        if slot.in_main:
            self._left_main += 1
            ghosts.bury(slot.key, slot.seen, self._left_main << 1 | 1)
        else:
            self._left_window += 1
            ghosts.bury(slot.key, slot.seen, self._left_window << 1)

    def _drop(self, slot: Slot[K, T]) -> None:
        if slot is self._hand:
            self._hand = slot.after
        del self.slots[slot.key]
        self.bytes -= slot.weight
        (self._main if slot.in_main else self._window).unlink(slot)
