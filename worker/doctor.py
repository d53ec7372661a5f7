"""`stoker doctor`: what is wrong with an installation, and what to do about each thing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from stoker.core.errors import StokerError
from stoker.core.keys import Keys
from stoker.core.link.clients import blocking_client
from stoker.core.linking import make_keys
from stoker.core.loading.loaders import import_loaders
from stoker.core.maintenance.heartbeat import ALIVE_SECONDS, KEPT_SECONDS
from stoker.core.settings.redaction import redact_url
from stoker.schedules.check import check as check_schedule
from stoker.worker.config import StokerConfig
from stoker.worker.logs import redact_text
from stoker.worker.refusals import is_refusal
from stoker.worker.refusals import remedy as remedy_for

Severity = Literal["ok", "warning", "error"]

#: What the library needs: XADD NOMKSTREAM, SET with GET and the like came with it.
OLDEST_SERVER = (6, 2)

#: A round trip above this eats much of a read's time limit, in seconds.
SLOW_SECONDS = 0.02

#: Clocks that differ by more make TTLs and schedules differ too, in seconds.
SKEW_SECONDS = 2.0

#: A server whose memory is used beyond this share refuses writes soon.
FULL_SHARE = 0.9

#: More events than this wait only when the consumers don't keep up.
MANY_EVENTS = 10_000

#: Round trips that the latency is measured over.
ROUND_TRIPS = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    about: str
    severity: Severity
    text: str
    remedy: str = ""
    """What to do about it; empty when all is well."""


def examine(config: StokerConfig) -> list[Finding]:
    """Look at everything; what can't be looked at is a finding too."""
    findings = [*examine_config(config)]
    with _client(config) as client:
        try:
            findings.extend(examine_server(client, config))
            findings.extend(examine_fleet(client, config))
        except redis.RedisError as error:
            findings.append(server_trouble(error, config))
    return findings


def server_trouble(error: redis.RedisError, config: StokerConfig) -> Finding:
    """Why the server could not be looked at."""
    where = redact_url(config.redis.url)
    if isinstance(error, redis.ResponseError) or is_refusal(str(error)):
        what_to_do = remedy_for(str(error), config.prefix) or "look at the server's log"
        return Finding("server", "error", redact_text(f"{where} refuses: {error}"), what_to_do)
    remedy = "start it, correct redis.url (REDIS_URL), or let `stoker up` bring one"
    return Finding("server", "error", redact_text(f"{where} does not answer: {error}"), remedy)


def examine_config(config: StokerConfig) -> Iterator[Finding]:
    """What can be told without a server: the loaders, the schedule."""
    yield Finding("configuration", "ok", f"{len(config.types)} cache types, prefix {config.prefix!r}")
    try:
        import_loaders(config.loaders)
    except StokerError as error:
        yield Finding(
            "loaders",
            "error",
            str(error),
            "install the module beside Stoker, or start stoker where it can be imported",
        )
    else:
        if config.loaders:
            yield Finding("loaders", "ok", f"{', '.join(config.loaders)} can be imported")
        else:
            yield Finding(
                "loaders",
                "warning",
                "none are named, so nothing can be warmed",
                "name the modules that register loaders in `loaders`",
            )
    problems = check_schedule(config)
    for problem in problems:
        yield Finding(f"schedule.{problem.entry}", problem.severity, problem.message, "correct the entry")
    if not problems:
        yield Finding("schedule", "ok", "every entry can do its work")


def _client(config: StokerConfig) -> Any:
    return blocking_client(
        config.redis.url,
        decode_responses=True,
        encoding_errors="replace",  # strangers' events hold any bytes
        socket_timeout=5,
        socket_connect_timeout=5,
        retry=Retry(NoBackoff(), 0),
    )


def examine_server(client: Any, config: StokerConfig) -> Iterator[Finding]:
    """The server: version, latency, clock, memory, persistence.

    Raises:
        redis.RedisError: It does not answer.
    """
    info: dict[str, Any] = client.info()
    yield check_version(info, config)
    yield check_latency(client, config)
    yield check_clock(client)
    yield check_role(info)
    yield from check_memory(info)
    yield check_persistence(info)


def check_version(info: dict[str, Any], config: StokerConfig) -> Finding:
    """Whether the server is one that the library can use."""
    name = "Valkey" if info.get("valkey_version") else "Redis"
    version = str(info.get("valkey_version") or info.get("redis_version", "0"))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    where = redact_url(config.redis.url)
    if numbers < OLDEST_SERVER:
        oldest = ".".join(map(str, OLDEST_SERVER))
        return Finding(
            "server",
            "error",
            f"{name} {version} at {where} is too old",
            f"use Redis {oldest} or later, or Valkey",
        )
    return Finding("server", "ok", f"{name} {version} at {where}")


def check_latency(client: Any, config: StokerConfig) -> Finding:
    """How long a round trip takes, against the time limit of a read."""
    trips: list[float] = []
    for _ in range(ROUND_TRIPS):
        began = time.perf_counter()
        client.ping()
        trips.append(time.perf_counter() - began)
    median = sorted(trips)[len(trips) // 2]
    text = f"a round trip takes {median * 1000:.2f} ms"
    if median > config.redis.timeout / 2:
        return Finding(
            "latency",
            "error",
            f"{text}, of the {config.redis.timeout * 1000:.0f} ms after which a read gives up",
            "bring the server nearer, or raise redis.timeout",
        )
    if median > SLOW_SECONDS:
        return Finding("latency", "warning", text, "bring the server nearer to the services")
    return Finding("latency", "ok", text)


def check_clock(client: Any) -> Finding:
    """How far the server's clock and this machine's are apart."""
    before = time.time()
    whole, micro = client.time()
    skew = whole + micro / 1_000_000 - (before + time.time()) / 2
    text = f"the server's clock and this machine's differ by {abs(skew) * 1000:.0f} ms"
    if abs(skew) > SKEW_SECONDS:
        return Finding("clock", "warning", text, "run an NTP client (chrony, systemd-timesyncd) on both")
    return Finding("clock", "ok", text)


def check_role(info: dict[str, Any]) -> Finding:
    """Whether it is a primary."""
    if info.get("role") == "slave":
        return Finding(
            "role",
            "error",
            "the server is a replica: it takes no writes, and its log is behind",
            "point redis.url at the primary",
        )
    return Finding("role", "ok", "the server is a primary")


def check_memory(info: dict[str, Any]) -> Iterator[Finding]:
    """What the server evicts, and how full it is."""
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy.startswith("allkeys-"):
        yield Finding(
            "eviction",
            "error",
            f"maxmemory-policy {policy} may evict the invalidation log, and with it the guarantee",
            "set maxmemory-policy noeviction (or volatile-lru: the log has no TTL)",
        )
    else:
        yield Finding("eviction", "ok", f"maxmemory-policy {policy} leaves the log alone")
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    text = f"{used / 2**20:.1f} MiB used of {f'{limit / 2**20:.0f} MiB' if limit else 'no limit'}"
    if limit and used > FULL_SHARE * limit:
        yield Finding(
            "memory", "error", text, "raise maxmemory, or shorten TTLs: a full server refuses writes"
        )
    else:
        yield Finding("memory", "ok", text)


def check_persistence(info: dict[str, Any]) -> Finding:
    """What a restart of the server would forget."""
    if int(info.get("loading", 0)):
        return Finding("persistence", "warning", "the server is loading its data", "wait until it has")
    if int(info.get("aof_enabled", 0)):
        if info.get("aof_last_write_status", "ok") != "ok":
            return Finding(
                "persistence", "error", "the append-only file can't be written", "look at the disk"
            )
        return Finding("persistence", "ok", "append-only file: a restart keeps the entries")
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        return Finding(
            "persistence", "error", "the last snapshot failed", "look at the server's log and its disk"
        )
    return Finding(
        "persistence",
        "warning",
        "no append-only file: a restart forgets recent invalidations, and opens a new epoch",
        "set appendonly yes; entries from before a restart are loaded again until then",
    )


def examine_fleet(client: Any, config: StokerConfig) -> Iterator[Finding]:
    """The keys, the log, the events, and the processes that should be there; nothing is written."""
    keys = make_keys(config)
    foreign = {finding.about: finding for finding in check_keys(client, config)}
    yield from foreign.values()
    if keys.log not in foreign:
        yield check_log(client, keys)
    alive: set[str] = set()
    if keys.processes not in foreign:
        alive = {component for component, age in _ages(client, keys) if age < ALIVE_SECONDS}
    stream = config.events.stream or keys.events
    if stream not in foreign:
        yield check_events(client, stream, config.events.group, watched="worker" in alive)
    dead = f"{stream}:dead"
    if dead not in foreign:
        yield from check_dead_events(client, dead)
    for name in ("worker", "beat", "exporter"):
        if name in alive:
            yield Finding(name, "ok", f"{name} is alive")
        else:
            yield Finding(
                name, "warning", f"no {name} is alive", f"start one: `stoker {name}`, or `stoker up`"
            )


def check_log(client: Any, keys: Keys) -> Finding:
    """Whether there is a log, and how long it is."""
    if records := int(client.xlen(keys.log)):
        return Finding("log", "ok", f"{records} records in {keys.log}")
    return Finding("log", "ok", f"there is no {keys.log} yet: the first process that connects makes it")


def check_keys(client: Any, config: StokerConfig) -> Iterator[Finding]:
    """Keys with Stoker's names that hold something else; nothing where all is as it should be."""
    keys = make_keys(config)
    stream = config.events.stream or keys.events
    wanted = {
        keys.log: "stream",
        keys.fence: "string",
        stream: "stream",
        f"{stream}:dead": "stream",
        keys.paused: "hash",
        keys.sizes: "hash",
        keys.processes: "zset",
        keys.beat: "string",
        keys.beat_last: "hash",
    }
    for name, kind in wanted.items():
        found = str(client.type(name))
        if found not in {kind, "none"}:
            yield Finding(
                name,
                "error",
                f"the key {name} is a {found}, where Stoker keeps a {kind}",
                f"find out who writes it, then DEL {name}; or choose another prefix than {config.prefix!r}",
            )


def check_events(client: Any, stream: str, group: str, *, watched: bool) -> Finding:
    """How many events wait for a consumer.

    Args:
        client: The server.
        stream: The stream of the events.
        group: The workers' consumer group.
        watched: Whether a worker is alive, to read them.
    """
    length = int(client.xlen(stream))
    if not length:
        return Finding("events", "ok", f"{stream} holds no events")
    groups = {str(found["name"]): found for found in client.xinfo_groups(stream)}
    if group not in groups:
        return Finding(
            "events",
            "warning",
            f"{length} events wait in {stream}: no worker has read it yet (there is no group {group!r})",
            "start a worker: `stoker worker`, or `stoker up`",
        )
    lag, pending = groups[group].get("lag"), int(groups[group]["pending"])
    waiting = pending + (int(lag) if lag is not None else _count_after(client, stream, groups[group]))
    text = f"{waiting} of {length} events in {stream} wait to be applied"
    if waiting and not watched:
        return Finding("events", "warning", text, "start a worker: `stoker worker`, or `stoker up`")
    if waiting > MANY_EVENTS:
        return Finding("events", "warning", text, "start more workers, or publish less: they don't keep up")
    return Finding("events", "ok", text)


def _count_after(client: Any, stream: str, group: dict[str, Any]) -> int:
    """Count what a group was not given yet, where the server doesn't (before Redis 7; after an XDEL)."""
    after = f"({group['last-delivered-id']}"
    return len(client.xrange(stream, min=after, count=MANY_EVENTS + 1))


def check_dead_events(client: Any, stream: str) -> Iterator[Finding]:
    """Events that nobody could read, and why not the last of them."""
    if not (count := int(client.xlen(stream))):
        return
    entries: list[tuple[str, dict[str, str]]] = client.xrevrange(stream, count=1)
    reason = next((fields.get("reason") for _, fields in entries), None) or "no reason given"
    yield Finding(
        "dead events",
        "warning",
        f"{count} in {stream} could not be read; the newest: {reason}",
        f"`XREVRANGE {stream} + - COUNT 10` shows them: correct who publishes them, publish them again, "
        f"then DEL {stream}",
    )


def _ages(client: Any, keys: Keys) -> Iterator[tuple[str, float]]:
    """Component and seconds since its last heartbeat, of each process that was heard of."""
    for member in client.zrange(keys.processes, 0, -1):
        component, _, identity = str(member).partition(":")
        left = client.pttl(keys.process(component, identity))
        if left > 0:
            yield component, KEPT_SECONDS - left / 1000
