"""Several beats, one leader: who leads, what is handed over, and what a dead server changes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from stoker.worker.app import create_app
from stoker.worker.beat import BeatLoop, LeaderScheduler
from stoker.worker.config import StokerConfig
from stoker.worker.lease import Lease
from tests.components import Component
from tests.servers import RedisServer
from tests.waiting import wait_until

#: One entry that runs often, and nothing else.
OFTEN: dict[str, Any] = {
    "warm": {"task": "warm", "every": "1h", "enabled": False},
    "compute_hit_rates": {"task": "compute_hit_rates", "every": "1h", "enabled": False},
    "cleanup_metrics": {"task": "cleanup_metrics", "every": "200ms", "jitter": 0, "expires": "1m"},
}


def config(server: RedisServer, prefix: str, **schedule: Any) -> dict[str, Any]:
    return {"prefix": prefix, "redis": {"url": server.url}, "schedule": {**OFTEN, **schedule}}


def scheduler(server: RedisServer, prefix: str, **entry: Any) -> LeaderScheduler:
    """A scheduler in this process with one entry."""
    given = config(server, prefix, cleanup_metrics={"task": "cleanup_metrics", **entry})
    return LeaderScheduler(create_app(StokerConfig.model_validate(given)))


def queued(server: RedisServer, prefix: str) -> int:
    """Messages that beat has sent and no worker has taken."""
    return int(server.client().llen(f"{prefix}:celery:{prefix}"))


def leaders(client: Any, prefix: str) -> list[bytes]:
    """The beats that say of themselves that they lead."""
    names = client.scan_iter(match=f"{prefix}:process:beat:*", count=1000)
    return [name for name in names if client.hget(name, "leader") == b"1"]


class Clock:
    """Monotonic time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class TestLease:
    def test_one_of_two_holds_it_until_it_lets_go(self, redis_server: RedisServer, prefix: str) -> None:
        client = redis_server.client()
        one, two = (Lease(client, f"{prefix}:lease", 10, name) for name in ("one", "two"))
        assert one.contend()
        assert not two.contend()
        assert one.contend()
        assert (one.held, two.held) == (True, False)
        two.release()  # not its own: nothing happens
        assert one.contend()
        one.release()
        assert not one.held
        assert two.contend()
        assert 9 < client.ttl(f"{prefix}:lease") <= 10

    def test_it_is_not_believed_in_once_it_may_have_run_out(self, own_redis_server: RedisServer) -> None:
        clock = Clock()
        client = redis.Redis.from_url(own_redis_server.url, protocol=2, retry=Retry(NoBackoff(), 0))
        lease = Lease(client, "lease", 10, "one", clock=clock)
        assert lease.contend()
        own_redis_server.kill()
        clock.now += 7.9
        assert lease.contend(), "the server is away, and nobody else can have it yet"
        assert lease.reachable is False
        clock.now += 0.2
        assert not lease.contend()
        assert not lease.held
        own_redis_server.start()
        assert lease.contend()
        assert lease.reachable

    def test_a_holder_that_slept_through_its_end_notices(
        self, redis_server: RedisServer, prefix: str
    ) -> None:
        clock = Clock()
        lease = Lease(redis_server.client(), f"{prefix}:lease", 10, "one", clock=clock)
        assert lease.contend()
        clock.now += 60
        assert not lease.held


class TestScheduler:
    @pytest.fixture
    def make(self, redis_server: RedisServer, prefix: str) -> Any:
        made: list[LeaderScheduler] = []

        def make(**entry: Any) -> LeaderScheduler:
            made.append(scheduler(redis_server, prefix, **entry))
            return made[-1]

        yield make
        for one in made:
            one.close()

    def test_a_missed_run_is_made_up_for_once(
        self, redis_server: RedisServer, prefix: str, make: Callable[..., LeaderScheduler]
    ) -> None:
        redis_server.client().hset(f"{prefix}:beat:last", "cleanup_metrics", time.time() - 7200)
        beat = make(every="1h")
        for _ in range(5):
            beat.tick()
        assert queued(redis_server, prefix) == 1
        ran = float(redis_server.client().hget(f"{prefix}:beat:last", "cleanup_metrics"))
        assert time.time() - ran < 60

    def test_what_another_leader_has_run_is_not_run_again(
        self, redis_server: RedisServer, prefix: str, make: Callable[..., LeaderScheduler]
    ) -> None:
        first, second = make(every="1h"), make(every="1h")
        redis_server.client().hset(f"{prefix}:beat:last", "cleanup_metrics", time.time() - 7200)
        first.tick()
        first.tick()
        assert (first.leading, second.leading) == (True, False)
        second.tick()
        assert not second.leading
        first.close()
        for _ in range(5):
            second.tick()
        assert second.leading
        assert queued(redis_server, prefix) == 1

    def test_times_of_entries_that_are_gone_are_removed(
        self, redis_server: RedisServer, prefix: str, make: Callable[..., LeaderScheduler]
    ) -> None:
        client = redis_server.client()
        client.hset(f"{prefix}:beat:last", mapping={"cleanup_metrics": time.time(), "gone": 1})
        make(every="1h").tick()
        assert set(client.hgetall(f"{prefix}:beat:last")) == {b"cleanup_metrics"}

    def test_what_is_sent_expires_and_goes_to_the_installations_own_queue(
        self, redis_server: RedisServer, prefix: str, make: Callable[..., LeaderScheduler]
    ) -> None:
        client = redis_server.client()
        client.hset(f"{prefix}:beat:last", "cleanup_metrics", time.time() - 7200)
        make(every="1h", expires="10m").tick()
        wait_until(lambda: queued(redis_server, prefix) == 1, "sent")
        message = client.lindex(f"{prefix}:celery:{prefix}", 0)
        assert b'"task": "stoker.cleanup_metrics"' in message
        assert b'"expires": "20' in message

    def test_a_standby_says_so(
        self, redis_server: RedisServer, prefix: str, make: Callable[..., LeaderScheduler]
    ) -> None:
        client = redis_server.client()
        client.set(f"{prefix}:beat:leader", "somebody else", px=60_000)
        beat = make(every="1h")
        assert 0 < beat.tick() <= 1
        heartbeat = client.hgetall(f"{prefix}:process:beat:{beat.identity}")
        assert heartbeat[b"leader"] == b"0"
        assert client.ttl(f"{prefix}:process:beat:{beat.identity}") > 0

    def test_a_broker_that_is_gone_ends_nothing(self, redis_server: RedisServer, prefix: str) -> None:
        given = config(redis_server, prefix)
        gone = RedisServer()  # never started: nothing listens on its port
        given["broker"] = {"url": gone.url}
        beat = LeaderScheduler(create_app(StokerConfig.model_validate(given)))
        redis_server.client().hset(f"{prefix}:beat:last", "cleanup_metrics", 1.0)
        try:
            for _ in range(3):
                assert beat.tick() >= 0
            assert beat.leading
            assert beat.sent == 0
        finally:
            beat.close()

    def test_what_could_not_be_sent_is_sent_when_the_broker_is_back(
        self, redis_server: RedisServer, own_redis_server: RedisServer, prefix: str
    ) -> None:
        broker = own_redis_server
        given = config(redis_server, prefix, cleanup_metrics={"task": "cleanup_metrics", "cron": "0 4 * * *"})
        given["broker"] = {"url": broker.url}
        beat = LeaderScheduler(create_app(StokerConfig.model_validate(given)))
        redis_server.client().hset(f"{prefix}:beat:last", "cleanup_metrics", time.time() - 2 * 86400)
        broker.kill()
        try:
            for _ in range(3):
                assert beat.tick() > 0, "it doesn't try without a pause"
            assert beat.sent == 0
            broker.start()
            wait_until(lambda: beat.tick() >= 0 and beat.sent, "it is sent")
            for _ in range(3):
                beat.tick()
            assert queued(broker, prefix) == beat.sent == 1
            broker.kill()
            redis_server.client().hset(f"{prefix}:beat:last", "cleanup_metrics", time.time() - 2 * 86400)
            beat._take_over()
            for _ in range(3):
                beat.tick()
            broker.start()
            wait_until(
                lambda: beat.tick() >= 0 and beat.sent == 2, "with a connection that was there before, too"
            )
        finally:
            beat.close()

    def test_what_was_due_when_the_lease_was_lost_is_sent_by_the_next_leader(
        self, redis_server: RedisServer, prefix: str, make: Callable[..., LeaderScheduler]
    ) -> None:
        client = redis_server.client()
        client.hset(f"{prefix}:beat:last", "cleanup_metrics", time.time() - 7200)
        beat = make(every="1h")

        class Lost(Lease):
            def contend(self) -> bool:
                return True  # and it is lost before anything is sent

        beat.lease.__class__ = Lost
        assert beat.tick() > 0
        assert (beat.sent, queued(redis_server, prefix)) == (0, 0)
        beat.lease.__class__ = Lease
        wait_until(lambda: beat.tick() >= 0 and beat.sent, "it is sent")

    def test_one_that_can_not_be_sent_holds_up_no_other(self, redis_server: RedisServer, prefix: str) -> None:
        given = config(redis_server, prefix, cleanup_metrics={"task": "cleanup_metrics", "every": "1h"})
        app: Any = create_app(StokerConfig.model_validate(given))
        schedule = app.conf.beat_schedule
        broken = {**schedule["cleanup_metrics"], "kwargs": {"retention": object()}}
        app.conf.beat_schedule = {"broken": broken, **schedule}
        beat = LeaderScheduler(app)
        for name in ("broken", "cleanup_metrics"):
            redis_server.client().hset(f"{prefix}:beat:last", name, time.time() - 7200)
        try:
            wait_until(lambda: beat.tick() >= 0 and beat.sent, "the other is sent")
        finally:
            beat.close()


class TestLoop:
    def test_a_signal_after_the_end_writes_nowhere(self, redis_server: RedisServer, prefix: str) -> None:
        loop = BeatLoop(scheduler(redis_server, prefix, every="1h"))
        loop.stop()
        loop.run()
        ends = os.pipe()  # takes the numbers that have become free
        os.set_blocking(ends[0], False)
        try:
            loop.stop()
            with pytest.raises(BlockingIOError):
                os.read(ends[0], 1)
        finally:
            for end in ends:
                os.close(end)

    def test_a_pause_below_zero_is_none(self, redis_server: RedisServer, prefix: str) -> None:
        class Late(LeaderScheduler):
            ticks = 0

            def tick(self, *_: Any, **__: Any) -> float:
                self.ticks += 1
                if self.ticks == 2:
                    loop.stop()
                return -0.5

        given = StokerConfig.model_validate(config(redis_server, prefix))
        beat = Late(create_app(given))
        loop = BeatLoop(beat)
        loop.run()
        assert beat.ticks == 2


class TestProcesses:
    def test_a_killed_leader_is_replaced_and_a_terminated_one_at_once(
        self, redis_server: RedisServer, prefix: str, tmp_path: Path
    ) -> None:
        client = redis_server.client()
        given = config(redis_server, prefix)
        with (
            Component("beat", tmp_path / "one", given) as one,
            Component("beat", tmp_path / "two", given) as two,
        ):
            wait_until(lambda: leaders(client, prefix), "one of them leads")
            wait_until(lambda: len(list(client.scan_iter(f"{prefix}:process:beat:*"))) == 2, "both run")
            assert len(leaders(client, prefix)) == 1
            leader, standby = (one, two) if one.lines("beat_leads") else (two, one)
            leader.wait_for("beat_sent", 2)
            assert not standby.lines("beat_sent")

            leader.kill()
            standby.wait_for("beat_leads")
            standby.wait_for("beat_sent", 2)

            leader.start()
            leads = len(leader.lines("beat_leads"))
            wait_until(lambda: client.exists(f"{prefix}:process:beat:{_host()}.{leader.pid}"), "it is back")
            assert standby.terminate() == 0
            assert not client.exists(f"{prefix}:process:beat:{_host()}.{standby.pid}")
            leader.wait_for("beat_leads", leads + 1)
            assert leader.terminate() == 0
            assert not client.exists(f"{prefix}:beat:leader")

    def test_it_survives_a_restart_of_the_server(self, own_redis_server: RedisServer, tmp_path: Path) -> None:
        server = own_redis_server
        with Component("beat", tmp_path, config(server, "s")) as beat:
            beat.wait_for("beat_sent", 2)
            server.kill()
            beat.wait_for("lease_unreachable")
            beat.wait_for("beat_stands_by")
            sent = len(beat.lines("beat_sent"))
            server.start()
            beat.wait_for("beat_leads", 2)
            beat.wait_for("beat_sent", sent + 2)
            assert beat.terminate() == 0


def _host() -> str:
    import socket

    return socket.gethostname()
