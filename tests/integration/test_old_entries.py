"""Entries that older caches wrote are taken over, and no invalidation is undone by them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import pickle
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stoker.core import (
    CacheManager,
    OldEntries,
    Recipe,
    SyncCacheManager,
    UsageError,
    cached,
    invalidate_on_write,
)
from stoker.core.loading.loaders import registered
from stoker.core.responses import ChatMessage, GenerationRequest, GenerationResponse, ResponseCache
from tests.managers import make_config, make_manager
from tests.old_caches import (
    LATER,
    Answer,
    Product,
    Source,
    load_tagged,
    old_of,
    there,
    until_removed,
    write_old,
)
from tests.servers import RedisServer
from tests.waiting import eventually


async def test_an_entry_of_june_cache_is_taken_over(redis_server: RedisServer, prefix: str) -> None:
    name = f"{prefix}-cache:llm_response:query_hash"
    write_old(redis_server, name, {"response": "old"})
    asked: list[str] = []

    async def compute(text: str) -> dict[str, str]:
        asked.append(text)
        return {"response": "new"}

    async with make_manager(redis_server, prefix, llm_response={"ttl": 7200}) as cache:
        old = OldEntries(cache, f"{prefix}-cache:{{type}}:{{key}}", until=LATER)
        load = old.before(compute)

        assert await cache.get_or_load("llm_response", "query_hash", load, "hi") == {"response": "old"}
        assert await cache.get("llm_response", "query_hash") == {"response": "old"}
        left = await cache.ttl("llm_response", "query_hash")

    assert not asked
    assert left is not None
    assert 500 < left <= 600, "no longer than the old entry had left"
    await until_removed(redis_server, name)


async def test_an_entry_of_the_caching_service_is_found_by_its_request(
    redis_server: RedisServer, prefix: str
) -> None:
    def old_name(messages: list[dict[str, str]], temperature: float, top_p: float, max_tokens: int) -> str:
        data = {"messages": messages, "temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
        digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
        return f"{prefix}-luciddreamer:cache:{digest}"

    async def generate(
        messages: list[dict[str, str]], temperature: float, top_p: float, max_tokens: int
    ) -> Answer:
        raise AssertionError("the model was asked")

    arguments: tuple[Any, ...] = ([{"role": "user", "content": "Hello"}], 0.7, 1.0, 1000)
    write_old(
        redis_server, old_name(*arguments), {"content": "Hi", "provider_used": "openai", "cost_usd": 0.0025}
    )
    async with make_manager(redis_server, prefix) as cache:
        load = OldEntries(cache, old_name, until=LATER).before(generate)
        answer = await cache.get_or_load("llm_response", "our-own-key", load, *arguments)

    assert answer == Answer("Hi", "openai", 0.0025), "it comes as what the loader is annotated to return"


async def test_a_cached_answer_of_a_model_is_taken_over_unless_its_model_was_invalidated(
    redis_server: RedisServer, prefix: str
) -> None:
    def old_name(request: GenerationRequest) -> str:
        return f"{prefix}-luciddreamer:cache:{request.messages[0].content}"

    async def generate(request: GenerationRequest) -> GenerationResponse:
        return GenerationResponse(content="new", provider_used="openai")

    for text in ("one", "two"):
        write_old(redis_server, old_name(ask(text)), {"content": f"old {text}", "provider_used": "openai"})
    async with make_manager(redis_server, prefix) as manager:
        cache = ResponseCache(manager)
        old = OldEntries(manager, old_name, until=LATER)
        answer = old.before(generate, tags=cache.tags)

        assert (await cache.get_or_generate(ask("one"), answer)).content == "old one"
        cached_answer = await cache.get_cached_response(ask("one"))
        assert cached_answer is not None
        assert cached_answer.content == "old one"
        left = await manager.ttl("llm_response", cache.key(ask("one")))
        assert left is not None
        assert left <= 600
        await cache.invalidate_provider("openai")

        assert (await cache.get_or_generate(ask("one"), answer)).content == "new"
        assert (await cache.get_or_generate(ask("two"), answer)).content == "new", "nobody had read it here"
        with pytest.raises(UsageError, match="tags"):
            await cache.get_or_generate(ask("three"), old.before(generate))


def ask(text: str) -> GenerationRequest:
    return GenerationRequest(messages=[ChatMessage("user", text)], model="gpt-4")


async def test_an_entry_of_netrun_cache_is_taken_over_by_a_read_without_loader(
    redis_server: RedisServer, prefix: str
) -> None:
    write_old(redis_server, f"{prefix}users:user:123", {"name": "John"})
    async with make_manager(redis_server, prefix) as cache:
        old = OldEntries(cache, f"{prefix}users:{{key}}", until=LATER)

        assert await old.get("db_query", "user:123") == {"name": "John"}
        assert await old.get("db_query", "user:124", "nobody") == "nobody"
        assert await cache.get("db_query", "user:123") == {"name": "John"}, "it has been stored"


async def test_an_entry_of_the_redis_cache_component_is_found_by_its_parameters(
    redis_server: RedisServer, prefix: str
) -> None:
    def old_name(user_id: int) -> str:
        digest = hashlib.sha256(json.dumps({"user_id": user_id}, sort_keys=True).encode()).hexdigest()[:16]
        return f"{prefix}-myapp:users:{digest}"

    async def find_user(user_id: int) -> dict[str, int]:
        raise AssertionError("the database was asked")

    write_old(redis_server, old_name(5), {"id": 5})
    async with make_manager(redis_server, prefix) as cache:
        load = OldEntries(cache, old_name, until=LATER).before(find_user)

        assert await cache.get_or_load("db_query", "user:5", load, 5) == {"id": 5}


async def test_a_decorated_function_takes_over_what_the_redis_cache_component_kept(
    redis_server: RedisServer, prefix: str
) -> None:
    asked: list[int] = []
    for user in (5, 6):
        write_old(redis_server, f"{prefix}-myapp:users:{user}", {"id": user, "of": "old"})
    async with make_manager(redis_server, prefix) as cache:
        old = OldEntries(cache, lambda user_id: f"{prefix}-myapp:users:{user_id}", until=LATER)
        users = cache.cache("db_query")

        @cached(users, "users", ttl=300)
        @old.before
        async def find_user(user_id: int) -> dict[str, Any]:
            asked.append(user_id)
            return {"id": user_id, "of": "new"}

        @invalidate_on_write(users, "users", key_params=["user_id"])
        async def change_user(user_id: int) -> None:
            pass

        assert await find_user(5) == {"id": 5, "of": "old"}
        await change_user(5)
        await change_user(6)  # nobody has read it here yet

        assert await find_user(5) == {"id": 5, "of": "new"}
        assert await find_user(6) == {"id": 6, "of": "new"}
    assert asked == [5, 6]


@pytest.mark.parametrize(
    "write", [lambda data: data, lambda data: zlib.compress(data, 6)], ids=["raw", "zlib"]
)
async def test_json_of_the_cache_infrastructure_module_is_read_compressed_or_not(
    redis_server: RedisServer, prefix: str, write: Callable[[bytes], bytes]
) -> None:
    write_old(redis_server, f"{prefix}-old:k", write(json.dumps({"summary": "brief"}).encode()))
    async with make_manager(redis_server, prefix) as cache:
        assert await old_of(cache, prefix, decode="zlib").get("llm_response", "k") == {"summary": "brief"}


class Bomb:
    def __reduce__(self) -> Any:
        return exploded.append, (True,)


exploded: list[bool] = []


@pytest.mark.parametrize("decode", ["json", "zlib"])
async def test_nothing_is_ever_unpickled(redis_server: RedisServer, prefix: str, decode: Any) -> None:
    source = Source()
    for key, data in {"raw": pickle.dumps(Bomb()), "packed": zlib.compress(pickle.dumps(Bomb()))}.items():
        write_old(redis_server, f"{prefix}-old:{key}", data)
    async with make_manager(redis_server, prefix) as cache:
        old = old_of(cache, prefix, decode=decode)
        load = old.before(source.load)
        for key in ("raw", "packed"):
            assert (await cache.get_or_load("db_query", key, load, key)).name == f"new {key}"

    assert old.counts.undecodable == 2
    assert not exploded


async def test_many_who_ask_at_once_take_it_once(redis_server: RedisServer, prefix: str) -> None:
    write_old(redis_server, f"{prefix}-old:1", {"name": "old", "category": 1})
    source = Source()
    async with make_manager(redis_server, prefix) as cache, make_manager(redis_server, prefix) as other:
        olds = [old_of(manager, prefix) for manager in (cache, other)]
        reads: list[Awaitable[Product]] = [
            manager.get_or_load("db_query", "1", old.before(source.load), "1")
            for manager, old in zip((cache, other), olds, strict=True)
            for _ in range(10)
        ]
        found = await asyncio.gather(*reads)

    assert {product.name for product in found} == {"old"}
    assert not source.asked
    assert sum(old.counts.taken for old in olds) == 1


async def test_a_registered_loader_keeps_its_tags_and_its_recipe(
    redis_server: RedisServer, prefix: str
) -> None:
    write_old(redis_server, f"{prefix}-old:1", {"name": "old", "category": 3})
    async with make_manager(redis_server, prefix, recording=True) as cache:
        old = old_of(cache, prefix)
        load = old.before(load_tagged)
        assert (await cache.get_or_load("db_query", "1", load, "1"))["name"] == "old"
        (_, _, recipe) = cache.access[-1]

        await cache.invalidate_tags("category:3")
        assert await cache.get("db_query", "1") is None

    assert recipe is not None
    assert (recipe.loader, recipe.args) == ("tests.old_entries.tagged", ("1",))


async def test_called_elsewhere_the_wrapped_loader_is_the_loader(
    redis_server: RedisServer, prefix: str
) -> None:
    write_old(redis_server, f"{prefix}-old:outer", {"name": "old", "category": 1})
    source = Source()
    async with make_manager(redis_server, prefix) as cache:
        load = old_of(cache, prefix).before(source.load)

        async def outer() -> dict[str, str]:
            return {"of": (await load("5")).name}  # in another key's load

        assert (await load("4")).name == "new 4"
        assert await cache.get_or_load("db_query", "outer", outer) == {"of": "new 5"}
        assert there(redis_server, f"{prefix}-old:outer")


async def test_a_refresh_does_not_bring_back_what_is_older(redis_server: RedisServer, prefix: str) -> None:
    source = Source()
    for key in ("1", "2"):
        write_old(redis_server, f"{prefix}-old:{key}", {"name": "old", "category": 1})
    async with make_manager(redis_server, prefix, page={"ttl": 60, "early": 0.999_999}) as cache:
        old = old_of(cache, prefix)
        load = old.before(source.load)
        await cache.set("page", "1", Product("set", 1))

        async def refreshed() -> bool:
            return (await cache.get_or_load("page", "1", load, "1")).name != "set"

        await eventually(refreshed, "it is loaded again behind an answer")
        assert (await cache.get_or_load("page", "1", load, "1")).name == "new 1"
        assert not old.counts.taken


async def test_warming_asks_the_source(redis_server: RedisServer, prefix: str) -> None:
    write_old(redis_server, f"{prefix}-old:1", {"name": "old", "category": 1})
    async with make_manager(redis_server, prefix) as cache:
        old = old_of(cache, prefix)
        users = cache.cache("db_query")

        @cached(users, "warmed", key_params=["product_id"])
        @old.before
        async def find(product_id: str) -> dict[str, Any]:
            return {"name": "new", "category": 1}

        key = users.key(find.key("1"))
        write_old(redis_server, f"{prefix}-old:{key}", {"name": "old", "category": 1})
        name = next(spec.name for spec in registered() if "warmed" in spec.name)
        loaded = await cache.reload("db_query", key, Recipe(name, ("1",)))

    assert loaded.value["name"] == "new"


async def test_a_session_that_ended_here_is_not_found_there(redis_server: RedisServer, prefix: str) -> None:
    for key in ("s1", "s2"):
        write_old(redis_server, f"{prefix}-old:{key}", {"user": 5}, ttl=1800)
    async with make_manager(redis_server, prefix) as cache:
        old = old_of(cache, prefix)
        assert await old.get("session", "s1") == {"user": 5}
        assert await cache.touch("session", "s1"), "it slides from now on"
        await cache.delete("session", "s1")
        await cache.delete("session", "s2")

        assert await old.get("session", "s1") is None
        assert await old.get("session", "s2") is None, "also one that nobody had read here"


async def test_a_value_that_was_set_here_is_not_overwritten(redis_server: RedisServer, prefix: str) -> None:
    write_old(redis_server, f"{prefix}-old:s1", {"cart": []})
    async with make_manager(redis_server, prefix) as cache:

        class Slow(OldEntries):
            async def _store(self, *args: Any, **kwargs: Any) -> bool:
                await cache.set("session", "s1", {"cart": ["tea"]})
                return await super()._store(*args, **kwargs)

        old = Slow(cache, f"{prefix}-old:{{key}}", until=LATER)

        assert await old.get("session", "s1") == {"cart": ["tea"]}
        assert await cache.get("session", "s1") == {"cart": ["tea"]}
    assert there(redis_server, f"{prefix}-old:s1"), "it was not stored"


async def test_none_is_a_value(redis_server: RedisServer, prefix: str) -> None:
    write_old(redis_server, f"{prefix}-old:1", None)
    async with make_manager(redis_server, prefix) as cache:
        assert await old_of(cache, prefix).get("db_query", "1", "default") is None


async def test_an_entry_without_ttl_gets_the_types(redis_server: RedisServer, prefix: str) -> None:
    write_old(redis_server, f"{prefix}-old:1", "old", ttl=None)
    async with make_manager(redis_server, prefix, page={"ttl": 100}) as cache:
        assert await old_of(cache, prefix).get("page", "1") == "old"
        left = await cache.ttl("page", "1")

    assert left is not None
    assert 90 < left <= 100


@pytest.mark.parametrize(
    ("decode", "data", "value"),
    [
        ("text", b"caf\xc3\xa9", "café"),
        ("bytes", b"\x00\xff", b"\x00\xff"),
        ("text", b"", ""),
        ("bytes", b"", b""),
    ],
)
async def test_texts_and_bytes_are_taken_as_they_are(
    redis_server: RedisServer, prefix: str, decode: Any, data: bytes, value: Any
) -> None:
    write_old(redis_server, f"{prefix}-old:1", data)
    async with make_manager(redis_server, prefix) as cache:
        assert await old_of(cache, prefix, decode=decode).get("tts_synthesis", "1") == value
        assert await cache.get("tts_synthesis", "1") == value
    await until_removed(redis_server, f"{prefix}-old:1")


def test_callers_without_an_event_loop_take_over_too(redis_server: RedisServer, prefix: str) -> None:
    for key in ("1", "2"):
        write_old(redis_server, f"{prefix}-old:{key}", {"name": f"old {key}", "category": 1})

    async def make(manager: CacheManager) -> OldEntries:
        return old_of(manager, prefix)

    with SyncCacheManager(make_config(redis_server, prefix), recording=False) as cache:
        old = cache.perform(make)
        load = old.before(load_tagged)

        assert cache.get_or_load("db_query", "1", load, "1")["name"] == "old 1"
        assert cache.perform(lambda _: old.get("db_query", "2"))["name"] == "old 2"
        assert cache.get_or_load("db_query", "3", load, "3")["name"] == "new 3"
