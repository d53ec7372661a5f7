"""What is noted of the calls of decorated functions: hits, and recipes for warming."""

from __future__ import annotations

import gc
import weakref

from stoker.core import Recipe, cached
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.waiting import eventually


async def test_arguments_that_cant_be_kept_for_warming_are_not_held(
    redis_server: RedisServer, prefix: str
) -> None:
    class Session:
        pass

    async with make_manager(redis_server, prefix, recording=True, page={}) as cache:

        @cached(cache, "users", cache_type="page", ignore=["session"])
        async def load(user_id: int, session: Session | None = None) -> int:
            return user_id

        session = Session()
        await load(1, session)
        await load(2)
        recipes = {key: recipe for _, key, recipe in cache.access}
        assert recipes == {load.key(1): None, load.key(2): Recipe(load.key(2).rpartition(":")[0], (2,))}
        gone = weakref.ref(session)
        del session
        await eventually(lambda: (gc.collect(), gone() is None)[1], "nothing holds the session")


async def test_a_hit_in_memory_is_counted_once_and_noted(redis_server: RedisServer, prefix: str) -> None:
    tiers = ["memory", "redis"]
    async with make_manager(redis_server, prefix, recording=True, page={"tiers": tiers}) as cache:

        @cached(cache, "near", cache_type="page")
        async def load(n: int) -> int:
            return n

        await load(1)
        await load(1)  # from the server, into memory
        before, noted = cache.counters.of("page").as_dict(), len(cache.access)
        assert [await load(1), await cache.get("page", load.key(1), into=int)] == [1, 1]
        after = cache.counters.of("page").as_dict()
        assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {
            "hits": 2,
            "memory_hits": 2,
        }
        assert len(cache.access) == noted + 2
