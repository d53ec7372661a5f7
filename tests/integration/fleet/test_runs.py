"""Runs: one at a time, recorded within a bound."""

from __future__ import annotations

import asyncio

import pytest

from stoker.core.maintenance import heartbeat
from stoker.core.maintenance.heartbeat import ALIVE_SECONDS, KEPT_SECONDS, Heartbeat, processes
from stoker.core.warming import runs
from stoker.core.warming.runs import RunLock, new_run_id, recent_runs, record_run
from tests.integration.fleet.caches import key_names, make_cache
from tests.servers import RedisServer
from tests.waiting import eventually


async def test_the_newest_runs_are_kept_and_no_others(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix) as cache:
        ids = [new_run_id() for _ in range(runs.KEPT_RUNS + 3)]
        for number, run_id in enumerate(ids):
            await record_run(cache, "job", run_id, {"number": number})
        found = await recent_runs(cache, "job", limit=2)
        assert [record.run_id for record in found] == [ids[-1], ids[-2]]
        assert found[0].fields == {"number": str(len(ids) - 1)}
        records = [name for name in key_names(redis_server, prefix) if name.startswith(f"{prefix}:run:job:")]
        assert len(records) == runs.KEPT_RUNS


async def test_a_lock_is_held_by_one_and_given_back(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix) as cache:
        async with RunLock(cache, "job", "a") as one, RunLock(cache, "job", "a") as two:
            assert (one.held, two.held) == (True, False)
            async with RunLock(cache, "job", "b") as other:
                assert other.held
        async with RunLock(cache, "job", "a") as after:
            assert after.held


async def test_a_lock_that_another_took_over_is_noticed_and_left_to_them(
    redis_server: RedisServer, prefix: str
) -> None:
    lost: list[str] = []
    async with make_cache(redis_server, prefix) as cache:
        name = cache.keys.run("job", "lock:a")
        async with RunLock(cache, "job", "a", on_lost=lost.append) as lock:
            await cache.link.call("SET", name, "another", "PX", 10_000)
            await eventually(lambda: lost, "the loss is noticed")
            assert not lock.held
        assert await cache.link.call("GET", name) == b"another"


async def test_processes_are_seen_while_they_say_so(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix) as cache:
        assert await processes(cache) == []
        shop = Heartbeat(cache, "shop", {"port": 8000}, identity="host.1")
        worker = Heartbeat(cache, "worker", identity="host.2:with colon")
        await asyncio.gather(shop.start(), worker.start(), worker.start())
        found = await processes(cache)
        assert [(info.component, info.identity, info.alive) for info in found] == [
            ("shop", "host.1", True),
            ("worker", "host.2:with colon", True),
        ]
        assert found[0].fields["port"] == "8000"
        left = KEPT_SECONDS - ALIVE_SECONDS - 1
        await cache.link.call("EXPIRE", cache.keys.process("shop", "host.1"), int(left))
        assert not (await processes(cache))[0].alive
        await shop.stop()
        await worker.stop()
        assert await processes(cache) == []


async def test_a_heartbeat_outlives_an_outage(
    own_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    async with make_cache(own_redis_server, "outage") as cache:
        shop = Heartbeat(cache, "shop")
        own_redis_server.kill()
        await shop.start()
        assert not await cache.link.connect()
        own_redis_server.start()
        await cache.link.wait_ready()

        async def seen() -> bool:
            return bool(await processes(cache))

        await eventually(seen, "it is seen again")
        own_redis_server.kill()
        await shop.stop()
        await shop.stop()


async def test_a_lock_that_cannot_be_renewed_is_given_up_before_it_expires(
    own_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "LOCK_SECONDS", 1.5)
    monkeypatch.setattr(runs, "RENEW_SECONDS", 0.05)
    lost: list[str] = []
    async with make_cache(own_redis_server, "outage") as cache:
        async with RunLock(cache, "job", "a", on_lost=lost.append):
            own_redis_server.kill()
            await eventually(lambda: lost, "the lock is given up")
        assert lost == ["lock lost"]


async def test_a_renewal_that_fails_is_tried_again_in_time(
    own_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "LOCK_SECONDS", 60.0)
    lost: list[str] = []
    async with (
        make_cache(own_redis_server, "frozen") as cache,
        RunLock(cache, "job", "a", on_lost=lost.append) as lock,
    ):
        name = cache.keys.run_lock("job", "a")
        cache.link.timeout = 0.05
        own_redis_server.freeze()
        try:
            await eventually(lambda: cache.link.timeouts, "a renewal got no answer")
        finally:
            own_redis_server.thaw()
        client = own_redis_server.client()
        client.pexpire(name, 30_000)
        await eventually(lambda: client.pttl(name) > 30_000, "it is renewed")
        assert (lock.held, lost) == (True, [])


async def test_a_dead_run_keeps_others_out_for_seconds(redis_server: RedisServer, prefix: str) -> None:
    async with make_cache(redis_server, prefix) as cache, RunLock(cache, "job", "a"):
        assert 0 < redis_server.client().pttl(cache.keys.run_lock("job", "a")) <= 6000
