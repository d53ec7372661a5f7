"""Reads the events that services publish, and appends what they name to the invalidation log.

A batch is one read, one append, one acknowledgement, in this order. What was read and not acknowledged stays
with the consumer group: after a crash it is read again under the same consumer name, or claimed by a peer.
So an event is applied at least once, and twice is harmless.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from stoker.core import CacheManager
from stoker.core.errors import LinkError, StokerError
from stoker.core.events import Event, apply_events, parse_event
from stoker.core.link.clients import async_client
from stoker.core.log.scopes import Key, Pattern, Type
from stoker.core.settings.addresses import Servers
from stoker.worker.messages import Batch, Message, parse_entries, sort_messages
from stoker.worker.unread import Id, look, loss, settle

logger = logging.getLogger(__name__)

#: Ids of a batch's events that its line in the log names.
TOLD_EVENTS = 20

#: Malformed events that are kept, the newest.
DEAD_KEPT = 10_000

#: Unknown types that are warned about, each once.
TOLD_TYPES = 100

#: Messages of a peer that hasn't acknowledged for so long are taken over, in seconds.
CLAIM_AFTER_SECONDS = 15.0

#: Names of consumers that have nothing pending are forgotten after so long, in seconds.
FORGET_AFTER_SECONDS = 3600.0

#: Pauses after a failure, in seconds: the first, and the longest.
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0

#: A reply may come so much later than the server was asked to wait, in seconds.
REPLY_SECONDS = 3.0

#: Stands in the log when events were removed before they were applied: nobody knows what they named.
LOST_EVENT = b'{"id": "lost:%s", "scopes": [{"everything": true}], "reason": "events were removed unread"}'

# Forgets consumers that are idle and hold nothing; in one step, so that none comes back in between.
# KEYS: stream.  ARGV: group, idle in ms, own name.
_FORGET = """
for _, fields in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for at = 1, #fields, 2 do consumer[fields[at]] = fields[at + 1] end
  if consumer.pending == 0 and consumer.idle > tonumber(ARGV[2]) and consumer.name ~= ARGV[3] then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
  end
end
return 1
"""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where events are read from."""

    url: str
    """The server with the stream."""
    stream: str
    dead: str
    """The stream for events that can't be read."""
    group: str = "stoker"
    name: str = "worker"
    """This consumer's name in the group; the same after a restart, and no two at once."""
    batch: int = 500
    """Messages read at once."""
    block: float = 1.0
    """How long a read waits for messages, in seconds."""
    claim_after: float = CLAIM_AFTER_SECONDS
    """How long a peer may hold messages before they are taken over, in seconds."""


@dataclass(slots=True)
class ConsumerHealth:
    """How the consumer is doing; ages by this machine's monotonic clock."""

    last_read: float | None = None
    """When a read was last answered, with or without messages (monotonic)."""
    held: int = 0
    """Messages that were read and are not yet acknowledged."""
    lag: int | None = None
    """Messages in the stream that the group has not read yet, as last asked."""
    applied: int = 0
    """Events that were applied since the start."""
    dead: int = 0
    """Malformed ones that were set aside since the start."""
    lost: int = 0
    """Messages that were removed from the stream before they were applied."""
    unknown_types: int = 0
    """Events that named a type which isn't configured here; they were applied all the same."""
    batches: int = 0
    retries: int = 0
    """Failures since the start after which was tried again."""
    problem: str | None = None
    """Why it isn't getting on; None when it is."""

    def age(self) -> float | None:
        """Return how long ago a read was last answered, in seconds; None if never."""
        return None if self.last_read is None else time.monotonic() - self.last_read

    def details(self) -> dict[str, str | int | float]:
        """Return what a heartbeat tells of it."""
        counts = {"applied": self.applied, "dead": self.dead, "lost": self.lost, "retries": self.retries}
        counts["unknown_types"] = self.unknown_types
        return {
            **{f"events_{name}": value for name, value in counts.items()},
            "events_held": self.held,
            "events_lag": "" if self.lag is None else self.lag,
            "events_problem": self.problem or "",
        }


class EventConsumer:
    """One consumer of the group, on one connection of its own.

    Args:
        subscription: What to read.
        manager: Gives the connected cache; called again after a failure.
    """

    def __init__(self, subscription: Subscription, manager: Callable[[], Awaitable[CacheManager]]) -> None:
        self.subscription = subscription
        self.health = ConsumerHealth()
        self._manager = manager
        self._next_claim = 0.0
        self._told: tuple[Id, Id] | None = None
        self._told_types: set[str] = set()

    async def run(self) -> None:
        """Read and apply until cancelled; whatever fails is tried again, later and later."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            batches = self.health.batches
            try:
                await self._serve()
            except (RedisError, OSError, TimeoutError, StokerError) as error:
                self._failed(error)
            except (
                Exception
            ) as error:  # a fault of ours must not end the consumer for ever: said loudly, retried
                logger.exception("action=consumer_failed", extra={"action": "consumer_failed"})
                self._failed(error)
            pause = (
                FIRST_PAUSE_SECONDS
                if self.health.batches > batches
                else min(pause * 2, LONGEST_PAUSE_SECONDS)
            )
            await asyncio.sleep(pause)

    def _failed(self, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        if self.health.problem is None:
            logger.warning(
                "action=consumer_interrupted reason=%s", reason, extra={"action": "consumer_interrupted"}
            )
        self.health.problem = reason
        self.health.retries += 1

    async def _serve(self) -> None:
        manager = await self._manager()
        client: Any = async_client(
            self.subscription.url,
            socket_timeout=None,  # each operation has a limit around it: this one swallows cancellations
            socket_connect_timeout=REPLY_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        for command in ("XREADGROUP", "XAUTOCLAIM"):  # a dict would lose a field that is there twice
            client.set_response_callback(command, _as_it_is)
        async with client:
            await self._ensure_group(client)
            await self._replay_own(client, manager)
            while True:
                await self._claim(client, manager)
                await self._look_for_losses(client, manager)
                await self._handle(client, manager, await self._read(client, ">", self.subscription.block))

    async def _ensure_group(self, client: Any) -> None:
        """Create stream and group where they are missing; a new group reads from the beginning."""
        at = self.subscription
        try:
            await _limited(client.xgroup_create(at.stream, at.group, id="0", mkstream=True))
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _replay_own(self, client: Any, manager: CacheManager) -> None:
        """Apply what was read under this name and never acknowledged."""
        while messages := await self._read(client, "0", None):
            logger.info("action=events_replayed count=%d", len(messages), extra={"action": "events_replayed"})
            await self._handle(client, manager, messages)

    async def _read(self, client: Any, after: str, block: float | None) -> list[Message]:
        at = self.subscription
        wait = None if block is None else max(1, int(block * 1000))
        reply = await _limited(
            client.xreadgroup(at.group, at.name, {at.stream: after}, count=at.batch, block=wait), block or 0.0
        )
        self.health.last_read = time.monotonic()
        if self.health.problem is not None:
            logger.info("action=consumer_resumed", extra={"action": "consumer_resumed"})
            self.health.problem = None
        return parse_entries(reply[0][1]) if reply else []

    async def _claim(self, client: Any, manager: CacheManager) -> None:
        """Take over what dead peers hold."""
        at = self.subscription
        if time.monotonic() < self._next_claim:
            return
        self._next_claim = time.monotonic() + at.claim_after / 2
        idle = int(at.claim_after * 1000)
        start: bytes | str = "0-0"
        while True:
            reply = await _limited(
                client.xautoclaim(at.stream, at.group, at.name, idle, start, count=at.batch)
            )
            start, messages = reply[0], parse_entries(reply[1])
            gone: list[bytes] = reply[2] if len(reply) > 2 else []
            messages += [(message_id, None) for message_id in gone]
            if messages:
                logger.info(
                    "action=events_claimed count=%d", len(messages), extra={"action": "events_claimed"}
                )
                await self._handle(client, manager, messages)
            if start == b"0-0":
                break
        await _limited(
            client.eval(_FORGET, 1, at.stream, at.group, int(FORGET_AFTER_SECONDS * 1000), at.name)
        )

    async def _look_for_losses(self, client: Any, manager: CacheManager) -> None:
        """Ask how far the group is; what was removed before it was read may have named anything.

        Before each read: a read jumps over a gap and leaves nothing to find it by.
        """
        at = self.subscription
        standing = await _limited(look(client, at.stream, at.group))
        self.health.lag = None if standing is None else standing.lag
        found = None if standing is None else loss(standing)
        if standing is None or found is None:
            return
        place = (standing.delivered, standing.deleted)
        if place == self._told and not found.exact:
            return
        await self._append(manager, [_lost_event(b"%d-%d" % standing.delivered, found.count)])
        self._told = place
        if await _limited(settle(client, at.stream, at.group, standing, found)):
            self.health.lost += found.count

    async def _handle(self, client: Any, manager: CacheManager, messages: Sequence[Message]) -> None:
        """Apply a batch, then acknowledge it; on any failure before that it stays pending."""
        if not messages:
            return
        self.health.held = len(messages)
        batch = sort_messages(messages)
        lost = [_lost_event(batch.lost[-1], len(batch.lost))] if batch.lost else []
        await self._append(manager, [*batch.events, *lost])
        self._tell_unknown_types(batch.events, manager.config.types)
        await _limited(self._settle(client, batch))
        self.health.held = 0
        self.health.batches += 1
        self.health.applied += len(batch.events)
        self.health.dead += len(batch.dead)
        self.health.lost += len(batch.lost)

    async def _append(self, manager: CacheManager, events: Sequence[Event]) -> None:
        """Append events' scopes to the log, as one record; try until it is acknowledged."""
        pause = FIRST_PAUSE_SECONDS
        while events:
            receipt = await apply_events(manager, list(events))
            if receipt.log_id:
                return _tell_applied(events, receipt.log_id)
            self._failed(LinkError("the log can't be appended to; the batch is tried again"))
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        return None

    async def _settle(self, client: Any, batch: Batch) -> None:
        """Acknowledge a batch, and set its malformed messages aside, in one step.

        On a cluster the two streams may lie on two servers: what is malformed may then be set aside twice.
        """
        at = self.subscription
        aside = [
            ("XADD", at.dead, "MAXLEN", "~", DEAD_KEPT, "*", *dead.to_fields(at.stream))
            for dead in batch.dead
        ]
        if Servers.of(at.url).kind == "cluster":
            for command in aside:
                await client.execute_command(*command)
            await client.xack(at.stream, at.group, *batch.ids)
        else:
            async with client.pipeline(transaction=True) as together:
                for command in aside:
                    together.execute_command(*command)
                together.xack(at.stream, at.group, *batch.ids)
                await together.execute()
        for dead in batch.dead:
            logger.warning(
                "action=event_malformed id=%s reason=%s",
                dead.id.decode(),
                dead.reason,
                extra={"action": "event_malformed", "id": dead.id.decode()},
            )

    def _tell_unknown_types(self, events: Sequence[Event], known: Container[str]) -> None:
        """Count events of types that aren't configured here, another service's or a slip; warn once each."""
        for event in events:
            named = [scope.cache_type for scope in event.scopes if isinstance(scope, Key | Type | Pattern)]
            unknown = [name for name in dict.fromkeys(named) if name not in known]
            self.health.unknown_types += bool(unknown)
            for name in unknown:
                if name not in self._told_types and len(self._told_types) < TOLD_TYPES:
                    self._told_types.add(name)
                    logger.warning(
                        "action=event_of_unknown_type cache_type=%s id=%s",
                        name,
                        event.id,
                        extra={"action": "event_of_unknown_type", "cache_type": name, "id": event.id},
                    )


def _lost_event(last: bytes, count: int) -> Event:
    """The event that stands for ones that are gone; `last` is an id that people can look for."""
    logger.error(
        "action=events_lost count=%d at=%s",
        count,
        last.decode(),
        extra={"action": "events_lost", "count": count},
    )
    return parse_event(LOST_EVENT % last)


def _tell_applied(events: Sequence[Event], log_id: str) -> None:
    """The middle of the way from an event to the reloads: which record of the log it became."""
    shown = ",".join(event.id for event in events[:TOLD_EVENTS])
    logger.info(
        "action=events_applied count=%d record=%s trace=%s",
        len(events),
        log_id,
        shown,
        extra={"action": "events_applied", "count": len(events), "record": log_id, "trace": shown},
    )


def _as_it_is(reply: Any, **_: Any) -> Any:
    """A reply as the server gave it."""
    return reply


async def _limited(operation: Awaitable[Any], wait: float = 0.0) -> Any:
    """Await an operation of the server that may itself wait for `wait` seconds."""
    async with asyncio.timeout(wait + REPLY_SECONDS):
        return await operation
