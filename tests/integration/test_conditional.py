"""Loaders that ask their source whether anything changed, and say so when nothing did."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from stoker.core import (
    NOT_MODIFIED,
    CacheManager,
    Key,
    NotModified,
    Previous,
    Recipe,
    Tag,
    UsageError,
    loader,
    previous,
)
from stoker.core.entries.lookup import State
from stoker.core.loading.loaders import is_conditional, returned_by
from tests.managers import make_manager
from tests.servers import RedisServer
from tests.sources import hold_lease, until_state
from tests.waiting import eventually

BRIEF = 0.05


@dataclass
class Page:
    text: str
    etag: str


class Site:
    """A source that sends a page again only if it changed."""

    def __init__(self) -> None:
        self.page = Page("one", "e1")
        self.offered: list[Previous | None] = []
        self.sent = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()

    async def load(self) -> Page | NotModified:
        old = previous()
        self.offered.append(old)
        page = self.page
        self.asked.set()
        await self.gate.wait()
        if old is not None and old.value.etag == page.etag:
            return NOT_MODIFIED
        self.sent += 1
        return page


def born(cache: CacheManager, server: RedisServer) -> bytes:
    return bytes(server.client().getrange(cache.keys.entry("page", "/"), 12, 27))


async def test_what_did_not_change_is_kept_for_another_ttl(redis_server: RedisServer, prefix: str) -> None:
    site = Site()
    load = loader(f"conditional.keep.{prefix}", cache_type="page", tags=lambda page: [page.etag])(site.load)
    async with make_manager(redis_server, prefix, page={"ttl": BRIEF, "fail_safe": 60}) as cache:
        assert await cache.get_or_load("page", "/", load) == Page("one", "e1")
        await until_state(cache, "page", "/", State.STALE)
        before = born(cache, redis_server)
        await cache.invalidate(Tag("unrelated"))
        assert await cache.get_or_load("page", "/", load) == Page("one", "e1")
        (first, second), counters = site.offered, cache.counters.of("page")
        assert first is None
        assert second is not None
        assert (second.value, second.tags) == (Page("one", "e1"), ("e1",))
        assert second.age >= BRIEF
        assert (site.sent, counters.sets, counters.not_modified) == (1, 2, 1)
        assert born(cache, redis_server) > before, "it is born where this load began"
        await cache.invalidate(Tag("e1"))
        assert await cache.get("page", "/") is None, "it has its tags again"


async def test_what_was_invalidated_while_the_source_was_asked_is_stored_dead(
    redis_server: RedisServer, prefix: str
) -> None:
    site = Site()
    async with make_manager(redis_server, prefix, page={"ttl": BRIEF, "stale": 60}) as cache:
        await cache.get_or_load("page", "/", site.load)
        await until_state(cache, "page", "/", State.STALE)
        site.gate.clear()
        site.asked.clear()
        assert (await cache.read("page", "/", site.load)).outcome == "stale"
        await site.asked.wait()
        await cache.invalidate(Key("page", "/"))
        site.page = Page("two", "e2")
        site.gate.set()
        await eventually(lambda: cache.counters.of("page").sets == 2, "the old page was kept")
        assert await cache.get("page", "/") is None
        assert await cache.get_or_load("page", "/", site.load) == Page("two", "e2")


async def test_nothing_dead_is_offered(redis_server: RedisServer, prefix: str) -> None:
    site = Site()
    async with make_manager(redis_server, prefix, page={}) as cache:
        await cache.get_or_load("page", "/", site.load)
        await cache.invalidate(Key("page", "/"))
        await cache.get_or_load("page", "/", site.load)
        assert site.offered == [None, None]


async def test_what_died_while_the_load_waited_for_its_turn_is_not_offered(
    redis_server: RedisServer, prefix: str
) -> None:
    site = Site()
    load = loader(f"conditional.wait.{prefix}", cache_type="page", tags=lambda _: ["t"])(site.load)
    async with make_manager(redis_server, prefix, page={"ttl": BRIEF, "fail_safe": 60}) as cache:
        await cache.get_or_load("page", "/", load)
        await until_state(cache, "page", "/", State.STALE)
        lease = cache.keys.lease("page", "/")
        await eventually(lambda: not redis_server.client().exists(lease), "the lease is free")
        hold_lease(redis_server, cache, "page", "/")
        waiting = asyncio.create_task(cache.get_or_load("page", "/", load))
        await eventually(lambda: cache.counters.of("page").leases_waited == 1, "it waits")
        await cache.invalidate(Tag("t"))
        redis_server.client().unlink(lease)
        assert await waiting == Page("one", "e1")
        assert (site.sent, site.offered) == (2, [None, None])


async def test_warming_offers_what_is_stored_to_loaders_that_say_they_ask(
    redis_server: RedisServer, prefix: str
) -> None:
    site = Site()
    load = loader(f"conditional.warm.{prefix}", cache_type="page")(site.load)
    async with make_manager(redis_server, prefix, page={}) as cache:
        await cache.get_or_load("page", "/", load)
        loaded = await cache.reload("page", "/", Recipe(f"conditional.warm.{prefix}"))
        assert (loaded.value, loaded.stored, site.sent) == (Page("one", "e1"), True, 1)


async def test_not_modified_without_a_previous_value_is_a_mistake(
    redis_server: RedisServer, prefix: str
) -> None:
    async def wrong() -> str | NotModified:
        return NOT_MODIFIED

    async with make_manager(
        redis_server, prefix, page={"serve_dead_on_error": True, "fail_safe": 60}
    ) as cache:
        with pytest.raises(UsageError, match=r"NOT_MODIFIED.*previous\(\)"):
            await cache.get_or_load("page", "/", wrong)
        await cache.set("page", "/", "old")
        await cache.invalidate(Key("page", "/"))
        with pytest.raises(UsageError):
            await cache.get_or_load("page", "/", wrong)


async def test_each_load_has_its_own_previous(redis_server: RedisServer, prefix: str) -> None:
    offered: dict[str, Previous | None] = {}
    async with make_manager(redis_server, prefix, page={"ttl": BRIEF, "fail_safe": 60}) as cache:

        async def inner() -> str:
            offered["inner"] = previous()
            return "inner"

        async def outer() -> str:
            offered["before"] = previous()
            await cache.get_or_load("page", "inner", inner)
            offered["after"] = previous()
            return "outer"

        assert previous() is None
        await cache.set("page", "outer", "was")
        await until_state(cache, "page", "outer", State.STALE)
        await cache.get_or_load("page", "outer", outer)
        assert offered["inner"] is None
        assert offered["before"] is not None
        assert offered["before"] == offered["after"]
        assert offered["before"].value == "was"
        assert previous() is None


def test_values_are_decoded_without_the_not_modified_of_the_annotation() -> None:
    async def one() -> Page | NotModified: ...  # type: ignore[empty-body]
    async def optional() -> Page | NotModified | None: ...
    async def plain() -> Page: ...  # type: ignore[empty-body]
    async def only() -> NotModified: ...  # type: ignore[empty-body]

    assert [returned_by(function) for function in (one, optional, plain)] == [Page, Page | None, Page]
    assert [is_conditional(function) for function in (one, optional, plain, only)] == [
        True,
        True,
        False,
        True,
    ]
