"""Which keys are hot: recorded in each process, counted by the fleet.

The hot path appends to a deque. A background task counts what stands there in one `Sketch` per cache type,
and every few seconds adds what is new to the type's current bucket in Redis, hottest keys first; what doesn't
fit in one flush waits for the next. A ranking is the decayed union of the buckets.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stoker.core.background import Background
from stoker.core.errors import LinkError, ReplyError, StokerError
from stoker.core.recipe import Recipe
from stoker.core.warming.buckets import Buckets, Heat, decayed_rates
from stoker.core.warming.flushing import Flushing
from stoker.core.warming.runs import read_list
from stoker.core.warming.sketch import Sketch

if TYPE_CHECKING:
    from stoker.core.manager import CacheManager
    from stoker.core.parts import Parts
    from stoker.core.settings.policy import Policy

logger = logging.getLogger(__name__)

#: Accesses counted in one go, before other coroutines have their turn (about a millisecond).
DRAIN_STEP = 5000

#: Seconds between looks at the deque.
DRAIN_SECONDS = 0.25

#: Keys of a type that one flush adds to the fleet's counts.
FLUSH_KEYS = 1000

#: Members of one bucket; the coldest go.
BUCKET_MEMBERS = 4000

#: Seconds after which the recipe of a key that is still hot is sent again.
RECIPE_SECONDS = 30.0

#: Recipes live at least so long, whatever the type's TTL is.
RECIPE_KEPT_SECONDS = 600

# Adds counts to a bucket and keeps its bound.  KEYS: bucket.  ARGV: TTL in s, members, then count, key, …
ADD_COUNTS = """
for at = 3, #ARGV, 2 do redis.call('ZINCRBY', KEYS[1], ARGV[at], ARGV[at + 1]) end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
"""


@dataclass(frozen=True, slots=True)
class HotKey:
    """A key in a type's ranking."""

    key: str
    rate: float
    """Requests per second, decayed, over the whole fleet."""
    recipe: Recipe | None
    """How to load it; None where it was never read through a registered loader."""
    heat: Heat
    """What the rate rests on, for planning."""


@dataclass(slots=True)
class _Sent:
    """A recipe as it was last sent."""

    packed: bytes | None
    """None where it can't be stored."""
    at: float
    """Monotonic seconds."""


class HotKeys(Flushing):
    """The background task of one process that counts its accesses and shares them.

    Args:
        manager: The cache whose `access` deque is drained.
        flush_every: Seconds between flushes to Redis.
    """

    def __init__(self, manager: Parts, *, flush_every: float = 2.0) -> None:
        self._manager = manager
        self._flush_every = flush_every
        self._sketches: dict[str, Sketch[Recipe]] = {}
        self._aged: dict[str, int] = {}
        self._sent: dict[tuple[str, str], _Sent] = {}
        self._background = Background(self._run, "stoker-hotkeys")
        self._flushing = asyncio.Lock()
        self._refused: set[str] = set()
        self.flushes = 0
        """Flushes that the server took."""
        self.flush_failures = 0
        """Flushes that it did not take; their counts wait."""

    async def drain(self) -> None:
        """Count all accesses recorded so far."""
        while self._drain_step():  # noqa: ASYNC110  others have their turn; there is nothing to wait for
            await asyncio.sleep(0)

    async def flush(self) -> None:
        """Count what was recorded, and add what is new to the fleet's counts.

        Raises:
            LinkError: The server can't be reached; the counts stay for the next flush.
        """
        async with self._flushing:
            await self.drain()
            for cache_type, sketch in list(self._sketches.items()):
                try:
                    await self._flush_type(cache_type, sketch)
                except LinkError:
                    raise
                except Exception as error:  # noqa: BLE001
                    # One type's key may be unusable (another kind, a full server), or what was noted of it
                    # odd: the others still count.
                    self.flush_failures += 1
                    self._tell_refused(cache_type, error)
                else:
                    self._refused.discard(cache_type)
            self.flushes += 1

    def sketch(self, cache_type: str) -> Sketch[Recipe] | None:
        """This process's own counts of a type, None before its first access."""
        return self._sketches.get(cache_type)

    def _tell_refused(self, cache_type: str, error: Exception) -> None:
        """Log the first refusal, not each that follows."""
        if cache_type not in self._refused:
            self._refused.add(cache_type)
            extra = {"action": "hotkeys_refused"}
            fault = None if isinstance(error, ReplyError) else error
            logger.warning(
                "action=hotkeys_refused cache_type=%s reason=%s",
                cache_type,
                error,
                exc_info=fault,
                extra=extra,
            )

    async def _run(self) -> None:
        flush_at = time.monotonic() + self._flush_every
        while True:
            await asyncio.sleep(min(DRAIN_SECONDS, self._flush_every))
            try:
                await self.drain()
                if time.monotonic() >= flush_at:
                    flush_at = time.monotonic() + self._flush_every
                    await self.flush()
            except LinkError:
                self.flush_failures += 1
            except Exception:
                # Counting must outlive any fault of its own: without it nothing is ever warmed again.
                self.flush_failures += 1
                logger.exception("action=hotkeys_failed", extra={"action": "hotkeys_failed"})

    def _drain_step(self) -> bool:
        """Count up to `DRAIN_STEP` accesses; say whether more may wait."""
        access, known = self._manager.access, self._manager.config.types
        counts: dict[str, dict[str, float]] = {}
        recipes: dict[str, dict[str, Recipe]] = {}
        for _ in range(min(len(access), DRAIN_STEP)):
            cache_type, key, recipe = access.popleft()
            of_type = counts.get(cache_type)
            if of_type is None:
                if cache_type not in known:
                    continue
                of_type = counts[cache_type] = {}
                recipes[cache_type] = {}
            of_type[key] = of_type.get(key, 0.0) + 1.0
            if recipe is not None and known[cache_type].warm.mode != "none":
                recipes[cache_type][key] = recipe
        for cache_type, weights in counts.items():
            if cache_type not in self._sketches:
                self._sketches[cache_type] = Sketch()
            self._sketches[cache_type].update(weights, recipes[cache_type])
        return bool(access)

    async def _flush_type(self, cache_type: str, sketch: Sketch[Recipe]) -> None:
        policy, now = self._manager.policy(cache_type), time.time()
        buckets = Buckets.of(policy)
        bucket = buckets.start(now)
        if self._aged.setdefault(cache_type, bucket) != bucket:
            sketch.age(0.5 ** ((bucket - self._aged[cache_type]) / buckets.half_life))
            self._aged[cache_type] = bucket
        taken = sketch.take(FLUSH_KEYS)
        if not taken:
            return
        arguments: list[str | int] = [buckets.kept, BUCKET_MEMBERS]
        for key, count in taken.items():
            arguments += (int(count), key)
        try:
            await self._manager.link.call(
                "EVAL", ADD_COUNTS, 1, self._manager.keys.hot(cache_type, bucket), *arguments
            )
        except (LinkError, ReplyError):
            sketch.give_back(taken)
            raise
        await self._send_recipes(cache_type, policy, sketch, list(taken))

    async def _send_recipes(
        self, cache_type: str, policy: Policy, sketch: Sketch[Recipe], keys: list[str]
    ) -> None:
        """Send the recipes of those keys that are hot enough to be warmed and were not sent lately."""
        if policy.warm.mode == "none":
            return
        floor = sketch.floor(policy.warm.keys)
        now = time.monotonic()
        self._sent = {at: sent for at, sent in self._sent.items() if now - sent.at < RECIPE_SECONDS}
        fields: list[str | bytes] = []
        sent: dict[tuple[str, str], _Sent] = {}
        for key in keys:
            recipe = sketch.note(key)
            if recipe is None or sketch.count(key) < floor:
                continue
            # Their stored form is compared: what `==` does is the arguments' own affair.
            packed, last = _pack(recipe), self._sent.get((cache_type, key))
            if last is not None and last.packed == packed:
                continue
            if packed is not None:
                fields += (key, packed)
            sent[cache_type, key] = _Sent(packed, now)
        self._sent |= sent
        if not fields:
            return
        name = self._manager.keys.recipe(cache_type)
        kept = max(Buckets.of(policy).kept, RECIPE_KEPT_SECONDS)
        replies = await self._manager.link.calls(
            [("HSET", name, *fields), ("EXPIRE", name, kept), ("HLEN", name)]
        )
        if isinstance(replies[2], int) and replies[2] > 2 * policy.warm.keys:
            await self._trim_recipes(cache_type, policy)

    async def _trim_recipes(self, cache_type: str, policy: Policy) -> None:
        """Keep the recipes of the fleet's hottest keys only."""
        name = self._manager.keys.recipe(cache_type)
        hot = {heat.key for heat in await hottest_keys(self._manager, cache_type, policy.warm.keys)}
        fields: list[bytes] = await self._manager.link.call("HKEYS", name)
        cold = [field for field in fields if field.decode(errors="replace") not in hot]
        for at in range(0, len(cold), 500):
            await self._manager.link.call("HDEL", name, *cold[at : at + 500])


def _pack(recipe: Recipe) -> bytes | None:
    """Return the recipe as stored, or None when its arguments can't be stored."""
    try:
        return recipe.pack()
    except (StokerError, TypeError, ValueError) as error:
        # Arguments may be anything that a loader takes; such a key is served, but not warmed.
        logger.debug("action=recipe_unpackable loader=%s reason=%s", recipe.loader, error)
        return None


async def hottest_keys(manager: Parts, cache_type: str, limit: int) -> list[Heat]:
    """Return how hot a type's hottest keys are, hottest first.

    Each bucket is asked for twice `limit` members: a key that is hot over all of them and yet not among
    so many in any is not found.

    Raises:
        LinkError: The server can't be reached.
        UsageError: There is no such type.
    """
    buckets, now = Buckets.of(manager.policy(cache_type)), time.time()
    last = min(max(2 * limit, 100), BUCKET_MEMBERS) - 1
    counts: dict[int, dict[str, float]] = {}
    for start in buckets.starts(now):
        (reply,) = await manager.link.calls(
            [("ZREVRANGE", manager.keys.hot(cache_type, start), 0, last, "WITHSCORES")]
        )
        if found := _read_counts(reply):
            counts[start] = found
    return decayed_rates(buckets, counts, now, limit)


def _read_counts(reply: Any) -> dict[str, float]:
    """Return the counts of a bucket; of one that is none, and of what is no key, nothing."""
    found, counts = read_list(reply), dict[str, float]()
    for name, count in zip(found[::2], found[1::2], strict=True):
        with contextlib.suppress(UnicodeDecodeError):
            counts[bytes(name).decode()] = float(count)
    return counts


async def ranking(manager: CacheManager, cache_type: str, limit: int) -> list[HotKey]:
    """Return a type's hottest keys with rates and recipes, hottest first.

    Raises:
        LinkError: The server can't be reached.
        UsageError: There is no such type.
    """
    hot = await hottest_keys(manager, cache_type, limit)
    name, found = manager.keys.recipe(cache_type), list[HotKey]()
    for at in range(0, len(hot), 500):
        part = hot[at : at + 500]
        (reply,) = await manager.link.calls([("HMGET", name, *(heat.key for heat in part))])
        packed = read_list(reply) or [None] * len(part)
        found += [
            HotKey(heat.key, heat.rate, _unpack(data), heat) for heat, data in zip(part, packed, strict=True)
        ]
    return found


def _unpack(data: bytes | None) -> Recipe | None:
    """Return a stored recipe, or None when there is none that this version reads."""
    if data is None:
        return None
    try:
        return Recipe.unpack(data)
    except (StokerError, ValueError) as error:
        # Another version's recipe, or a damaged one: the key is treated as one without.
        logger.warning("action=recipe_unreadable reason=%s", error, extra={"action": "recipe_unreadable"})
        return None
