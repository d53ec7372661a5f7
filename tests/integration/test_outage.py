"""Redis slow, gone, full or back: the caller gets an answer, and nothing that was invalidated comes back."""

from __future__ import annotations

import asyncio
import logging

import pytest

from stoker.core import CacheConfig, CacheManager, Key, Tag
from stoker.core.errors import LinkError
from stoker.core.maintenance.explain import explain
from stoker.core.maintenance.sizes import measure_sizes
from stoker.core.warming.rates import compute_hit_rates
from tests.managers import Reached, make_manager
from tests.proxies import Proxy
from tests.servers import RedisServer, free_port
from tests.sources import Source
from tests.waiting import eventually


def make(server: Reached, *, timeout: float = 0.2, connect_timeout: float = 5) -> CacheManager:
    config = CacheConfig.model_validate(
        {"prefix": "t", "redis": {"url": server.url, "timeout": timeout, "connect_timeout": connect_timeout}}
    )
    return CacheManager(config, recording=False)


async def test_without_a_server_every_answer_comes_all_the_same() -> None:
    config = CacheConfig.model_validate(
        {"prefix": "t", "redis": {"url": f"redis://127.0.0.1:{free_port()}/0", "connect_timeout": 0.1}}
    )
    source = Source()
    async with CacheManager(config, recording=False) as cache:
        assert not cache.link.ready
        assert await cache.get("db_query", "k", "default") == "default"
        assert await cache.set("db_query", "k", 1) is False
        assert await cache.delete("db_query", "k") == 0
        assert await cache.get_or_load("db_query", "k", source.load) == 1
        receipt = await cache.invalidate(Tag("a"))
        assert not receipt.acknowledged
        assert len(cache.log.kept) == 2
        with pytest.raises(LinkError, match=r"127\.0\.0\.1"):
            await cache.link.call("PING")


async def test_a_killed_server_is_a_miss_and_its_return_is_noticed(
    own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    server, source = own_redis_server, Source()
    async with make(server) as cache:
        await cache.get_or_load("db_query", "k", source.load)
        with caplog.at_level(logging.WARNING, "stoker"):
            server.kill()
            await eventually(lambda: not cache.link.ready, "the loss is noticed")
            for _ in range(200):
                assert await cache.get_or_load("db_query", "k", source.load) == 1
            server.start()
            await eventually(lambda: cache.link.ready, "the return is noticed")
        changes = [getattr(record, "action", "") for record in caplog.records]
        assert changes.count("link_down") == 1, "one line per change of state"
        assert changes.count("link_up") == 1
        assert await cache.get_or_load("db_query", "k", source.load) == 1
        assert await cache.get("db_query", "k") == 1


async def test_invalidations_made_meanwhile_are_kept_obeyed_and_appended(
    own_redis_server: RedisServer,
) -> None:
    server, source = own_redis_server, Source()
    server.client().config_set("appendonly", "yes")
    server.client().config_set("appendfsync", "always")
    server.options = ("--appendonly", "yes")
    async with make(server) as cache, make(server) as peer:
        await cache.get_or_load("db_query", "k", source.load)
        server.kill()
        await eventually(lambda: not cache.link.ready, "the loss is noticed")
        source.value = 2
        receipt = await cache.invalidate(Key("db_query", "k"))
        assert receipt.log_id is None
        assert await cache.get_or_load("db_query", "k", source.load) == 2
        server.start()
        await eventually(lambda: cache.link.ready and peer.link.ready, "both are back")
        await eventually(lambda: not cache.log.kept, "what was kept is appended")
        assert await peer.get("db_query", "k") is None
        assert await peer.get_or_load("db_query", "k", source.load) == 2


async def test_a_restart_from_a_snapshot_is_a_new_epoch(own_redis_server: RedisServer) -> None:
    """What was acknowledged after the snapshot is gone, and the entry it killed is back."""
    server, source = own_redis_server, Source()
    async with make(server) as cache:
        await cache.get_or_load("db_query", "k", source.load)
        server.client().save()
        before = cache.log.epoch
        source.value = 2
        assert (await cache.invalidate(Key("db_query", "k"))).acknowledged
        server.kill()
        server.start()
        await eventually(lambda: cache.link.ready and cache.link.connections == 2, "the server is back")
        assert cache.log.epoch not in {0, before}
        assert await cache.get("db_query", "k") is None, "not without loading it again"


async def test_a_frozen_server_costs_one_short_wait(own_redis_server: RedisServer) -> None:
    server, source = own_redis_server, Source()
    async with make(server) as cache:
        await cache.get_or_load("db_query", "k", source.load)
        server.freeze()
        answers = await asyncio.gather(*(cache.get_or_load("db_query", "k", source.load) for _ in range(50)))
        assert answers == [1] * 50
        assert cache.link.timeouts == 1
        for _ in range(100):
            assert await cache.get_or_load("db_query", "k", source.load) == 1
        assert cache.link.timeouts == 1, "after the first, nobody waits"
        server.thaw()
        await eventually(lambda: cache.link.ready, "the thaw is noticed")

        async def hits() -> bool:
            return bool(await cache.get("db_query", "k") == 1)

        await eventually(hits, "hits are back")


async def test_a_server_that_stays_frozen_is_given_up_and_found_again(own_redis_server: RedisServer) -> None:
    server = own_redis_server
    async with make(server, timeout=0.05) as cache:
        connections = cache.link.connections
        server.freeze()
        assert await cache.get("db_query", "k") is None
        await eventually(
            lambda: "no reply for 2 s" in cache.link.last_error or cache.link.connections > 1, "given up"
        )
        server.thaw()
        await eventually(lambda: cache.link.ready, "found again")
        assert cache.link.connections > connections


async def test_a_full_server_refuses_and_the_caller_does_not_notice(
    own_redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    server, source = own_redis_server, Source()
    async with make(server) as cache:
        server.client().config_set("maxmemory", "1")
        assert await cache.set("db_query", "k", 1) is False
        assert await cache.get_or_load("db_query", "k", source.load) == 1
        with caplog.at_level(logging.WARNING, "stoker"):
            assert not (await cache.invalidate(Tag("a"), trace="abc")).acknowledged
            await eventually(lambda: cache.link.ready, "it goes on answering")
            await eventually(
                lambda: any(getattr(r, "action", "") == "append_refused" for r in caplog.records), "loud"
            )
        assert len(cache.log.kept) == 1
        server.client().config_set("maxmemory", "0")
        await eventually(lambda: not cache.log.kept, "appended once there is room")
        [(_, fields)] = server.client().xrevrange(cache.keys.log, count=1)
        assert (fields[b"tag"], fields[b"_trace"]) == (b"a", b"abc")


async def test_a_reply_that_makes_no_sense_drops_the_connection_and_nothing_else(
    own_redis_server: RedisServer,
) -> None:
    """A server of another kind on the port: the link says so and keeps trying."""
    gone = own_redis_server
    port = gone.port
    gone.kill()

    async def speak_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    stranger = await asyncio.start_server(speak_http, "127.0.0.1", port)
    async with make(gone, connect_timeout=0.3) as cache:
        assert await cache.get("db_query", "k", "default") == "default"
        assert not cache.link.ready
        stranger.close()
        await stranger.wait_closed()
        gone.start()
        await eventually(lambda: cache.link.ready, "the right server is found")


async def test_the_password_is_in_no_message() -> None:
    config = CacheConfig.model_validate(
        {"redis": {"url": f"redis://me:hunter2@127.0.0.1:{free_port()}/0", "connect_timeout": 0.1}}
    )
    async with CacheManager(config, recording=False) as cache:
        with pytest.raises(LinkError) as error:
            await cache.link.call("PING")
    assert "hunter2" not in str(error.value)


async def test_what_was_under_way_when_the_server_died_ends(own_redis_server: RedisServer) -> None:
    server = own_redis_server
    async with make(server) as cache:
        server.freeze()
        calls = [asyncio.create_task(cache.link.call("GET", "x")) for _ in range(20)]
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(result, LinkError) for result in results)
        server.thaw()


async def test_what_is_invalidated_while_the_server_is_frozen_is_obeyed_and_appended(
    own_redis_server: RedisServer,
) -> None:
    """The connection lives on: nothing but the thaw says that the server is back."""
    server, source = own_redis_server, Source()
    async with make(server) as cache, make(server) as peer:
        await cache.get_or_load("db_query", "k", source.load)
        server.freeze()
        source.value = 2
        assert not (await cache.invalidate(Key("db_query", "k"))).acknowledged
        connections = cache.link.connections
        server.thaw()
        await eventually(lambda: cache.link.ready, "the thaw is noticed")
        assert await cache.get_or_load("db_query", "k", source.load) == 2, (
            "obeyed before it stands in the log"
        )
        await eventually(lambda: not cache.log.kept, "appended")
        assert cache.link.connections == connections
        await eventually(lambda: peer.link.ready, "the peer is back, too")
        assert await peer.get_or_load("db_query", "k", source.load) == 2


@pytest.mark.parametrize("how", ["delete", "write_through"])
async def test_who_gives_up_waiting_for_an_invalidation_has_invalidated_all_the_same(
    own_redis_server: RedisServer, how: str
) -> None:
    """A request's own time limit passes while what it has sent is lost on the way."""

    async def invalidate(cache: CacheManager) -> None:
        if how == "delete":
            await cache.delete("db_query", "k")
        else:
            async with cache.write_through("db_query", "k"):
                pass

    async with Proxy(own_redis_server) as proxy, make(own_redis_server) as peer, make(proxy) as cache:
        assert await cache.set("db_query", "k", "old")
        proxy.up.hold(b"XADD")
        caller = asyncio.create_task(invalidate(cache))
        await proxy.up.holding.wait()
        caller.cancel()
        assert isinstance(*await asyncio.gather(caller, return_exceptions=True), asyncio.CancelledError)
        await eventually(lambda: len(cache.log.kept) == 1, "it is kept")
        proxy.up.drop()
        await eventually(lambda: cache.link.ready and not cache.log.kept, "it is appended")
        assert await cache.get("db_query", "k") is None
        assert await peer.get("db_query", "k") is None


async def test_a_delete_whose_end_comes_late_leaves_what_was_created_after_it(
    own_redis_server: RedisServer,
) -> None:
    session = {"kind": "authoritative"}
    async with (
        Proxy(own_redis_server) as proxy,
        make_manager(own_redis_server, "t", session=session) as peer,
        make(proxy) as cache,
    ):
        assert await peer.set("session", "s", {"user": 1})
        await peer.increment("session", "s", 3)
        proxy.up.hold(b"EVAL")
        await cache.delete("session", "s")
        assert proxy.up.holding.is_set(), "the record stands, the rest is on its way"
        assert await peer.set("session", "s", {"user": 2}, if_absent=True)
        assert await peer.increment("session", "s") == 1
        proxy.up.release()
        await eventually(lambda: cache.link.ready, "it has come")
        assert await cache.get("session", "s") == {"user": 2}
        assert await peer.get("session", "s") == {"user": 2}
        assert await peer.counter("session", "s") == 1


async def test_too_many_kept_invalidations_are_widened(own_redis_server: RedisServer) -> None:
    server = own_redis_server
    async with make(server) as cache:
        assert await cache.set("db_query", "untouched", 1)
        assert await cache.set("session", "untouched", 1)
        server.freeze()
        await cache.get("db_query", "x")
        for number in range(120):
            await cache.invalidate(*(Key("db_query", f"{number}-{n}") for n in range(100)))
        assert len(cache.log.kept) <= 10_000
        server.thaw()
        await eventually(lambda: cache.link.ready and not cache.log.kept, "appended")
        assert await cache.get("db_query", "untouched") is None, "the type stands for its keys"
        assert await cache.get("session", "untouched") == 1


async def test_a_large_reply_that_is_still_coming_is_no_silence(own_redis_server: RedisServer) -> None:
    """A proxy lets the bytes through slowly: longer than the limit in all, never that long without any."""
    server = own_redis_server
    port = free_port()

    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", server.port)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter, pause: float) -> None:
            while data := await source.read(64 * 1024):
                sink.write(data)
                await sink.drain()
                await asyncio.sleep(pause if len(data) > 10_000 else 0)
            sink.close()
            await sink.wait_closed()

        await asyncio.gather(
            copy(reader, up_writer, 0), copy(up_reader, writer, 0.02), return_exceptions=True
        )
        ended.set()

    proxy = await asyncio.start_server(serve, "127.0.0.1", port)
    config = CacheConfig.model_validate(
        {
            "prefix": "t",
            "redis": {"url": f"redis://127.0.0.1:{port}/0", "timeout": 0.4, "connect_timeout": 5},
            "types": {"large": {"compression": "none"}},
        }
    )
    async with make(server, timeout=10) as direct, CacheManager(config, recording=False) as slow:
        direct.config.types["large"] = config.types["large"]
        value = "x" * 4_000_000
        assert await direct.set("large", "k", value)
        assert await slow.get("large", "k") == value
        assert slow.link.timeouts == 0
    await ended.wait()
    proxy.close()
    await proxy.wait_closed()


async def test_what_survived_a_restart_is_still_obeyed(own_redis_server: RedisServer) -> None:
    """The epoch is new, but the record that killed the entry is there: it may not be served as stale."""
    server, source = own_redis_server, Source()
    server.options = ("--appendonly", "yes", "--appendfsync", "always")
    server.kill()
    server.start()
    async with make(server) as cache:
        await cache.get_or_load("db_query", "k", source.load)
        await cache.get_or_load("db_query", "alive", source.load)
        source.value = 2
        await cache.invalidate(Key("db_query", "k"))
        client = server.client()
        pipeline = client.pipeline()
        for number in range(6_000):
            pipeline.xadd(cache.keys.log, {"tag": f"other-{number}"})
        pipeline.execute()
        server.kill()
        server.start()
        async with make(server) as new:
            for reader in (cache, new):
                await eventually(lambda: cache.link.connections == 2 and cache.link.ready, "back")
                assert await reader.get_or_load("db_query", "k", source.load) == 2
            assert await new.get_or_load("db_query", "alive", source.load) == 1, (
                "stale, while it is loaded again"
            )


async def test_who_only_looks_changes_nothing(own_redis_server: RedisServer) -> None:
    client = own_redis_server.client()
    config = CacheConfig.model_validate(
        {"prefix": "t", "redis": {"url": own_redis_server.url, "timeout": 10, "connect_timeout": 5}}
    )
    async with CacheManager(config, read_only=True) as looker:
        assert (await explain(looker, "db_query", "k")).state == "absent"
        await measure_sizes(looker)
        await compute_hit_rates(looker)
        assert client.keys("*") == []
        async with make(own_redis_server) as cache:
            await cache.set("db_query", "k", 1)
            answer = await explain(looker, "db_query", "k")
            assert answer.state in {"fresh", "stale"}
            await cache.invalidate(Key("db_query", "k"))
            assert (await explain(looker, "db_query", "k")).state == "dead"


async def test_a_key_of_another_program_is_left_alone_and_named(own_redis_server: RedisServer) -> None:
    client = own_redis_server.client()
    client.set("t:log", "precious")
    async with make(own_redis_server) as cache:
        assert not cache.link.ready
        assert "t:log is no stream" in cache.link.last_error
        assert await cache.get("db_query", "k") is None
    assert client.get("t:log") == b"precious"
