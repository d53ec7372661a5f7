"""Entries that older caches wrote are taken over, and no invalidation is undone by them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import pickle
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stoker.core import (
    CacheConfig,
    CacheManager,
    Everything,
    Key,
    OldEntries,
    Pattern,
    Recipe,
    Scope,
    SyncCacheManager,
    Tag,
    Type,
    UsageError,
    cached,
    invalidate_on_write,
    loader,
)
from stoker.core.loading.loaders import registered
from stoker.core.maintenance.sweep import sweep
from stoker.core.responses import ChatMessage, GenerationRequest, GenerationResponse, ResponseCache
from tests.clusters import ClusterServers
from tests.managers import make_config, make_manager
from tests.servers import RedisServer, free_port
from tests.waiting import eventually

LATER = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass
class Product:
    name: str
    category: int


@dataclass
class Answer:
    content: str
    provider_used: str
    cost_usd: float


class Source:
    """What the real loader asks; it counts how often."""

    def __init__(self) -> None:
        self.asked = 0

    async def load(self, product_id: str) -> Product:
        self.asked += 1
        return Product(f"new {product_id}", 7)


@loader(
    "tests.old_entries.tagged", cache_type="db_query", tags=lambda found: [f"category:{found['category']}"]
)
async def load_tagged(product_id: str) -> dict[str, Any]:
    return {"name": f"new {product_id}", "category": 7}


def write_old(server: RedisServer, name: str, value: Any, *, ttl: int | None = 600) -> None:
    """As `redis.setex(name, ttl, json.dumps(value))` in the older systems did."""
    client = server.client()
    client.set(name, value if isinstance(value, bytes) else json.dumps(value), ex=ttl)
    client.close()


def there(server: RedisServer, name: str) -> bool:
    client = server.client()
    found = bool(client.exists(name))
    client.close()
    return found


async def until_removed(server: RedisServer, name: str) -> None:
    """Nobody waits for a removal: it follows what was stored."""

    async def gone() -> bool:
        return not there(server, name)

    await eventually(gone, f"{name} is removed")


def old_of(cache: CacheManager, prefix: str, **options: Any) -> OldEntries:
    options.setdefault("until", LATER)
    return OldEntries(cache, f"{prefix}-old:{{key}}", **options)


# -- what each of the older systems wrote ---------------------------------------------------------


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


# -- the promise ----------------------------------------------------------------------------------

SCOPES: list[Scope] = [
    Key("db_query", "42"),
    Tag("category:1"),
    Type("db_query"),
    Pattern("db_query", "4*"),
    Everything(),
]


@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: type(scope).__name__)
async def test_what_was_invalidated_since_the_switch_is_not_taken(
    redis_server: RedisServer, prefix: str, scope: Scope
) -> None:
    for key in ("41", "42"):
        write_old(redis_server, f"{prefix}-old:{key}", {"name": f"old {key}", "category": 1})
    async with make_manager(redis_server, prefix) as cache, make_manager(redis_server, prefix) as other:
        old = old_of(cache, prefix)
        load = old.before(load_tagged)
        receipt = await other.invalidate(scope)  # before anybody has read it through Stoker
        assert receipt.acknowledged

        assert (await cache.get_or_load("db_query", "42", load, "42"))["name"] == "new 42"
        assert old.counts.refused == 1


async def test_what_others_invalidated_leaves_the_rest_to_be_taken(
    redis_server: RedisServer, prefix: str
) -> None:
    write_old(redis_server, f"{prefix}-old:42", {"name": "old 42", "category": 1})
    async with make_manager(redis_server, prefix) as cache:
        await cache.invalidate(Key("db_query", "7"), Tag("category:2"), Type("session"))
        load = old_of(cache, prefix).before(load_tagged)

        assert (await cache.get_or_load("db_query", "42", load, "42"))["name"] == "old 42"


@pytest.mark.parametrize("keep", [False, True])
async def test_what_was_taken_does_not_come_back_after_an_invalidation(
    redis_server: RedisServer, prefix: str, keep: bool
) -> None:
    write_old(redis_server, f"{prefix}-old:42", {"name": "old 42", "category": 1})
    async with make_manager(redis_server, prefix) as cache:
        load = old_of(cache, prefix, keep=keep).before(load_tagged)
        assert (await cache.get_or_load("db_query", "42", load, "42"))["name"] == "old 42"
        if not keep:
            await until_removed(redis_server, f"{prefix}-old:42")
        assert there(redis_server, f"{prefix}-old:42") is keep

        await cache.invalidate_tags("category:1")

        assert (await cache.get_or_load("db_query", "42", load, "42"))["name"] == "new 42"


async def test_an_invalidation_that_comes_while_an_old_entry_is_read_refuses_it(
    redis_server: RedisServer, prefix: str
) -> None:
    write_old(redis_server, f"{prefix}-old:42", {"name": "old", "category": 1})
    source = Source()

    def decode(data: bytes) -> Product:
        client = redis_server.client()
        assert client.execute_command("XADD", f"{prefix}:log", "NOMKSTREAM", "*", "key", "db_query:42"), (
            "somebody else invalidates"
        )
        client.close()
        return Product(**json.loads(data))

    async with make_manager(redis_server, prefix) as cache:
        old = old_of(cache, prefix, decode=decode, keep=True)
        load = old.before(source.load)
        first = await cache.get_or_load("db_query", "42", load, "42")
        second = await cache.get_or_load("db_query", "42", load, "42")

    assert first.name == "new 42"
    assert second.name == "new 42"
    assert (old.counts.taken, old.counts.refused) == (0, 1)


async def test_a_process_that_starts_later_goes_by_the_same_switch(
    redis_server: RedisServer, prefix: str
) -> None:
    for key in ("1", "2"):
        write_old(redis_server, f"{prefix}-old:{key}", {"name": "old", "category": 1})
    async with make_manager(redis_server, prefix) as first:
        assert await old_of(first, prefix).get("db_query", "1") is not None
        await first.delete("db_query", "2")

    async with make_manager(redis_server, prefix) as second:
        assert await old_of(second, prefix).get("db_query", "2") is None


async def test_once_the_log_was_swept_nothing_is_taken(redis_server: RedisServer, prefix: str) -> None:
    write_old(redis_server, f"{prefix}-old:1", {"name": "old", "category": 1})
    async with make_manager(redis_server, prefix) as cache:
        old = old_of(cache, prefix)
        assert await old.get("db_query", "nothing") is None  # notes the switch
        await cache.delete("db_query", "1")
        for number in range(3):
            await cache.delete("db_query", f"other {number}")
        assert (await sweep(cache, minimum_age=0, minimum_records=1)).trimmed

        assert await old.get("db_query", "1") is None
        assert old.counts.refused == 1
    async with make_manager(redis_server, prefix) as later:
        assert await old_of(later, prefix).get("db_query", "1") is None


@pytest.mark.parametrize(("after_rollback", "found"), [("revalidate", None), ("trust", "old")])
async def test_lost_history_ends_it_unless_the_type_trusts_the_server(
    redis_server: RedisServer,
    own_redis_server: RedisServer,
    prefix: str,
    after_rollback: str,
    found: str | None,
) -> None:
    for key in ("1", "2"):
        write_old(redis_server, f"{prefix}-old:{key}", "old")
    policy = {"after_rollback": after_rollback, "ttl": 600}
    async with (
        make_manager(own_redis_server, "mine", page=policy) as cache,
        old_of(cache, prefix, url=redis_server.url) as old,
    ):
        assert await old.get("page", "1") == "old"
        client = own_redis_server.client()
        for group in client.xinfo_groups("mine:log"):
            client.xgroup_destroy("mine:log", group["name"])
        client.close()
        cache.log.lose()
        assert await cache.log.resync()

        assert await old.get("page", "2") == found


async def test_old_entries_get_no_older_than_the_types_own(redis_server: RedisServer, prefix: str) -> None:
    write_old(redis_server, f"{prefix}-old:1", "old", ttl=86_400)
    write_old(redis_server, f"{prefix}-old:2", "old", ttl=86_400)
    async with make_manager(redis_server, prefix, page={"ttl": 100}) as cache:
        old = old_of(cache, prefix)
        assert await old.get("page", "1") == "old"
        left = await cache.ttl("page", "1")
        assert left is not None
        assert left <= 100

        client = redis_server.client()
        (note,) = client.keys(f"{prefix}:switch:*")
        epoch, position, at_ms = client.get(note).decode().split(":")
        client.set(note, f"{epoch}:{position}:{int(at_ms) - 101_000}", ex=100)  # that was 101 s ago
        client.close()

        assert await old_of(cache, prefix).get("page", "2") is None


# -- old and new side by side ---------------------------------------------------------------------


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
        assert old.before(load_tagged) is load, "made once"
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
    ("decode", "data", "value"), [("text", b"caf\xc3\xa9", "café"), ("bytes", b"\x00\xff", b"\x00\xff")]
)
async def test_texts_and_bytes_are_taken_as_they_are(
    redis_server: RedisServer, prefix: str, decode: Any, data: bytes, value: Any
) -> None:
    write_old(redis_server, f"{prefix}-old:1", data)
    async with make_manager(redis_server, prefix) as cache:
        assert await old_of(cache, prefix, decode=decode).get("tts_synthesis", "1") == value
        assert await cache.get("tts_synthesis", "1") == value


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


# -- what can't be read ---------------------------------------------------------------------------

PRODUCT = json.dumps({"name": "x", "category": 1}).encode()
BAD = {
    "no JSON": b"{",
    "of another type": b'{"name": 5}',
    "too large": json.dumps({"name": "x" * 2_000, "category": 1}).encode(),
    "too large when expanded": zlib.compress(PRODUCT + b" " * 2_000),
    "a zip bomb": zlib.compress(json.dumps({"name": "x" * 5_000_000, "category": 1}).encode()),
    "cut off": zlib.compress(PRODUCT)[:-6],
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
async def test_what_can_not_be_read_is_not_there(redis_server: RedisServer, prefix: str, data: bytes) -> None:
    source = Source()
    write_old(redis_server, f"{prefix}-old:1", data)
    async with make_manager(redis_server, prefix, page={"max_entry": 1_000, "ttl": 60}) as cache:
        old = old_of(cache, prefix, decode="zlib")

        assert (await cache.get_or_load("page", "1", old.before(source.load), "1")).name == "new 1"
        assert old.counts.undecodable == cache.counters.of("page").undecodable == 1
    assert there(redis_server, f"{prefix}-old:1"), "it is not ours to remove"


async def test_bytes_are_not_cut(redis_server: RedisServer, prefix: str) -> None:
    for size in (1_000, 1_001):
        write_old(redis_server, f"{prefix}-old:{size}", b"x" * size)
    async with make_manager(redis_server, prefix, page={"max_entry": 1_000, "ttl": 60}) as cache:
        old = old_of(cache, prefix, decode="bytes")

        assert [await old.take("page", "1001"), old.counts.undecodable] == [None, 1]
        assert len(await old.get("page", "1000")) == 1_000


async def test_a_key_of_another_kind_is_not_there(redis_server: RedisServer, prefix: str) -> None:
    client = redis_server.client()
    client.hset(f"{prefix}-old:1", "field", "value")
    client.expire(f"{prefix}-old:1", 60)
    client.close()
    async with make_manager(redis_server, prefix) as cache:
        assert await old_of(cache, prefix).get("db_query", "1") is None


async def test_without_its_server_the_loader_is_asked(redis_server: RedisServer, prefix: str) -> None:
    source = Source()
    async with make_manager(redis_server, prefix) as cache:
        gone = f"redis://127.0.0.1:{free_port()}/0"
        async with old_of(cache, prefix, url=gone) as old:
            load = old.before(source.load)
            assert (await cache.get_or_load("db_query", "1", load, "1")).name == "new 1"
            assert old.counts.absent == 1


async def test_a_cache_in_memory_alone_takes_over_what_a_server_has(
    redis_server: RedisServer, prefix: str
) -> None:
    write_old(redis_server, f"{prefix}-old:1", "old")
    write_old(redis_server, f"{prefix}-old:2", "old")
    config = CacheConfig.model_validate({"redis": {"enabled": False, "timeout": 10, "connect_timeout": 10}})
    async with CacheManager(config) as cache, old_of(cache, prefix, url=redis_server.url) as old:
        await cache.delete("db_query", "2")

        assert await old.get("db_query", "1") == "old"
        assert await old.get("db_query", "2") is None


async def test_after_its_end_nobody_looks(redis_server: RedisServer, prefix: str) -> None:
    source = Source()
    write_old(redis_server, f"{prefix}-old:1", {"name": "old", "category": 1})
    async with make_manager(redis_server, prefix) as cache:
        old = old_of(cache, prefix, until=datetime.now(UTC) - timedelta(seconds=1))

        assert (await cache.get_or_load("db_query", "1", old.before(source.load), "1")).name == "new 1"
        assert await old.get("db_query", "2") is None
        assert await old.take("db_query", "1") is None

        def name_of(product_id: str) -> str:
            raise AssertionError("nobody asks for a name any more")

        unused = OldEntries(cache, name_of, until=datetime.now(UTC)).before(source.load)
        assert (await cache.get_or_load("db_query", "3", unused, "3")).name == "new 3"
    assert old.over
    assert there(redis_server, f"{prefix}-old:1")
    client = redis_server.client()
    assert not client.keys(f"{prefix}:switch:*"), "no switch was noted"
    client.close()


@pytest.mark.parametrize(
    ("names", "options", "says"),
    [
        ("old:entries", {}, "{key}"),
        ("old:{key}", {"until": datetime(2100, 1, 1)}, "time zone"),  # noqa: DTZ001  that is the point
        ("old:{key}", {"until": "2100-01-01"}, "time zone"),
        ("old:{key}", {"decode": "pickle"}, "decode"),
    ],
)
def test_what_can_not_be_used_is_refused(names: str, options: dict[str, Any], says: str) -> None:
    cache = CacheManager(CacheConfig())
    options.setdefault("until", LATER)
    with pytest.raises(UsageError, match=says):
        OldEntries(cache, names, **options)


async def test_streams_are_no_loaders(redis_server: RedisServer, prefix: str) -> None:
    async def words() -> AsyncIterator[str]:
        yield "tea"

    async with make_manager(redis_server, prefix) as cache:
        with pytest.raises(UsageError, match="one by one"):
            old_of(cache, prefix).before(words)  # type: ignore[arg-type]  # pyright: ignore


async def test_a_name_that_is_no_text_is_refused(redis_server: RedisServer, prefix: str) -> None:
    def name_of(product_id: str) -> Any:
        return 42

    async with make_manager(redis_server, prefix) as cache:
        load = OldEntries(cache, name_of, until=LATER).before(Source().load)
        with pytest.raises(UsageError, match="name"):
            await cache.get_or_load("db_query", "1", load, "1")


async def test_a_cache_without_server_must_say_where_old_entries_are() -> None:
    cache = CacheManager(CacheConfig.model_validate({"redis": {"enabled": False}}))
    with pytest.raises(UsageError, match="url"):
        OldEntries(cache, "old:{key}", until=LATER)


async def test_a_name_that_needs_arguments_must_be_given(redis_server: RedisServer, prefix: str) -> None:
    write_old(redis_server, f"{prefix}-old:mine", "old")
    async with make_manager(redis_server, prefix) as cache:
        old = OldEntries(cache, lambda number: f"{prefix}-old:{number}", until=LATER)
        with pytest.raises(UsageError, match="name"):
            await old.take("db_query", "1")
        assert await old.get("db_query", "1", name=f"{prefix}-old:mine") == "old"


async def test_on_a_cluster_entries_are_taken_over_wherever_they_are(
    cluster: ClusterServers, cluster_prefix: str
) -> None:
    names = [f"user:{number}" for number in range(12)]  # in slots of all servers
    async with make_manager(cluster, cluster_prefix) as cache:
        for name in names:
            await cache.link.call("SET", f"{cluster_prefix}-old:{name}", json.dumps(name), "EX", 600)
        await cache.invalidate(Key("db_query", names[0]))
        old = old_of(cache, cluster_prefix)

        assert [await old.get("db_query", name) for name in names] == [None, *names[1:]]
        assert await cache.get_many("db_query", names) == {name: name for name in names[1:]}

        async def removed() -> bool:
            left = [name for name in names if await cache.link.call("EXISTS", f"{cluster_prefix}-old:{name}")]
            return left == names[:1]

        await eventually(removed, "each is removed on the server that had it")


async def test_what_can_not_be_read_is_told_once_and_not_quoted(
    redis_server: RedisServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    for key in ("1", "2"):
        write_old(redis_server, f"{prefix}-old:{key}", {"name": ["secret"], "category": 1})
    async with make_manager(redis_server, prefix) as cache:
        old = old_of(cache, prefix)
        for key in ("1", "2"):
            assert await old.get("db_query", key, into=Product) is None

    lines = [record.getMessage() for record in caplog.records if "old_entry" in record.getMessage()]
    assert lines == ["action=old_entry_undecodable cache_type=db_query reason=EntryError"]
