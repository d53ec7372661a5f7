"""Who may take the result of a load under way: the edges."""

from __future__ import annotations

import asyncio

from stoker.core import Tag
from stoker.core.loading.flights import Flight, Flights, Loaded
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually


async def test_who_may_not_take_what_has_just_landed_loads_instead(
    redis_server: RedisServer, prefix: str
) -> None:
    """Were it found again and again, the event loop would stand still."""
    async with make_manager(redis_server, prefix, product={}) as cache:
        flights = Flights(cache.log)
        landed: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        flights.add("product", "1", landed).begin_now(cache.log)
        await cache.invalidate(Tag("red"))

        async def load(flight: Flight) -> Loaded:
            flight.begin_now(cache.log)
            return Loaded("new", (), stored=False, seconds=0.0)

        landed.set_result(Loaded("old", (b"red",), stored=False, seconds=0.0))
        loaded = await flights.load("product", "1", load, lambda: None)
        assert loaded.value == "new"


async def test_who_cannot_look_at_the_log_takes_nothing_that_began_before(
    own_redis_server: RedisServer,
) -> None:
    """Others may be on a server that this process has lost, and have invalidations acknowledged there."""
    source, gate, reading, loads = [1], asyncio.Event(), asyncio.Event(), 0

    async def load() -> int:
        nonlocal loads
        loads += 1
        value = source[0]
        reading.set()
        await gate.wait()
        return value

    async with make_manager(own_redis_server, "t", product={}) as cache:
        own_redis_server.kill()
        await eventually(lambda: not cache.link.ready, "the server's death is noticed")
        early = asyncio.create_task(cache.get_or_load("product", "1", load))
        await reading.wait()
        source[0] = 2
        late = [asyncio.create_task(cache.get_or_load("product", "1", load)) for _ in range(5)]
        await eventually(lambda: cache.counters.of("product").misses == 6, "all look")
        assert loads == 1, "they wait: one load at a time"
        gate.set()
        assert await early == 1
        assert await asyncio.gather(*late) == [2] * 5
        assert loads == 2
