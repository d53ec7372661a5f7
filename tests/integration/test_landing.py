"""A load that has landed, but whose callbacks have not run yet."""

from __future__ import annotations

import asyncio

from stoker.core import Tag
from stoker.core.flights import Flight, Flights, Loaded
from tests.managers import make_manager
from tests.servers import RedisServer


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
