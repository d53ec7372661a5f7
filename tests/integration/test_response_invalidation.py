"""Answers of models die by key, pattern, model and provider, and give their memory back."""

from __future__ import annotations

from typing import Any

import pytest

from stoker.core import CacheManager, ChatMessage, GenerationRequest, GenerationResponse, ResponseCache
from tests.clusters import ClusterServers
from tests.managers import make_config
from tests.servers import RedisServer

RESPONSE = GenerationResponse("Hi!", "req_1", "openai")


def asking(text: str, **fields: Any) -> GenerationRequest:
    return GenerationRequest([ChatMessage("user", text)], **fields)


async def test_all_answers_of_a_model_or_a_provider_die_with_one_command(
    redis_server: RedisServer, prefix: str
) -> None:
    async with ResponseCache(make_config(redis_server, prefix)) as cache:
        models = {f"{name} {n}": asking(str(n), model=name) for name in ("small", "large") for n in range(5)}
        for name, request in models.items():
            provider = "openai" if name.endswith(("0", "1")) else "anthropic"
            await cache.cache_response(request, GenerationResponse(name, provider_used=provider))
        writes = cache.manager.link.writes

        receipt = await cache.invalidate_model("large")

        assert receipt.acknowledged
        assert cache.manager.link.writes == writes + 1
        alive = {name for name, request in models.items() if await cache.get_cached_response(request)}
        assert alive == {f"small {n}" for n in range(5)}
        assert (await cache.invalidate_provider("anthropic")).acknowledged
        alive = {name for name, request in models.items() if await cache.get_cached_response(request)}
        assert alive == {"small 0", "small 1"}


@pytest.mark.parametrize("other", ["", "tenant-b", "b" * 400])
async def test_answers_of_another_namespace_stay(redis_server: RedisServer, prefix: str, other: str) -> None:
    async with CacheManager(make_config(redis_server, prefix)) as manager:
        mine, others = (ResponseCache(manager, namespace=name) for name in ("tenant-a", other))
        request = asking("Hi", model="gpt-4o")
        for invalidate, what in ((mine.invalidate_model, "gpt-4o"), (mine.invalidate_provider, "openai")):
            for cache in (mine, others):
                assert await cache.cache_response(request, RESPONSE)
            await invalidate(what)
            assert await mine.get_cached_response(request) is None
            assert await others.get_cached_response(request) == RESPONSE
        await others.invalidate_model("gpt-4o")
        assert await others.get_cached_response(request) is None


async def test_names_that_are_no_tags_are_tagged_all_the_same(redis_server: RedisServer, prefix: str) -> None:
    names = ["x" * 300, "x" * 299 + "y", "tab\there", "gpt:4", "模型"]
    async with ResponseCache(make_config(redis_server, prefix)) as cache:
        for name in names:
            assert await cache.cache_response(asking("a", model=name), RESPONSE)
        for number, name in enumerate(names):
            await cache.invalidate_model(name)
            alive = [bool(await cache.get_cached_response(asking("a", model=one))) for one in names]
            assert alive == [False] * (number + 1) + [True] * (len(names) - number - 1)


async def test_one_answer_or_all_are_invalidated(redis_server: RedisServer, prefix: str) -> None:
    async with ResponseCache(make_config(redis_server, prefix)) as cache:
        requests = [asking(str(number)) for number in range(10)]
        for request in requests:
            await cache.cache_response(request, RESPONSE)
        assert await cache.delete(requests[0]) == 1
        assert await cache.delete(requests[0]) == 0
        first = cache.key(requests[1])[:6]
        assert await cache.invalidate_cache(f"{first}*") == 1
        assert await cache.get_cached_response(requests[1]) is None
        assert await cache.invalidate_cache("*") == 8
        assert await cache.invalidate_cache() == 0


@pytest.mark.parametrize("tiers", [["redis"], ["memory", "redis"], ["memory"]])
async def test_dead_answers_give_their_memory_back(
    redis_server: RedisServer, prefix: str, tiers: list[str]
) -> None:
    client = redis_server.client()
    async with ResponseCache(make_config(redis_server, prefix, llm_response={"tiers": tiers})) as cache:
        for number in range(20):
            model = "old" if number % 2 else "new"
            await cache.cache_response(asking(str(number), model=model), RESPONSE)
        await cache.invalidate_model("old")
        before = len(list(client.scan_iter(match=f"{prefix}:e:*")))

        assert await cache.cleanup_expired_cache() == 10
        assert await cache.cleanup_expired_cache() == 0
        after = len(list(client.scan_iter(match=f"{prefix}:e:*")))
        assert (before, after) == ((0, 0) if tiers == ["memory"] else (20, 10))
        assert await cache.get_cached_response(asking("2", model="new")) == RESPONSE
    client.close()


async def test_on_a_cluster_it_is_the_same(cluster: ClusterServers, cluster_prefix: str) -> None:
    async with ResponseCache(make_config(cluster, cluster_prefix)) as cache:
        requests = [asking(str(number), model="old" if number % 2 else "new") for number in range(20)]
        for request in requests:
            assert await cache.cache_response(request, RESPONSE)
        assert [await cache.get_cached_response(request) for request in requests] == [RESPONSE] * 20

        assert (await cache.invalidate_model("old")).acknowledged
        assert sum([await cache.get_cached_response(request) is not None for request in requests]) == 10
        assert await cache.cleanup_expired_cache() == 10
        assert await cache.cleanup_expired_cache() == 0
        assert await cache.invalidate_cache() == 10
        for number in range(5):
            assert await cache.cache_request_metrics(f"r{number}", "openai", 10, 0.5)
        metrics = await cache.get_metrics_for_period(48)
        assert metrics.error is None
        assert metrics.totals.cost_usd == 2.5


async def test_what_is_no_entry_is_cleaned_away_and_what_is_a_newer_one_is_not(
    redis_server: RedisServer, prefix: str
) -> None:
    client = redis_server.client()
    async with ResponseCache(make_config(redis_server, prefix)) as cache:
        names: list[str] = []
        for number in range(5):
            await cache.cache_response(asking(str(number)), RESPONSE)
            names.append(cache.manager.keys.entry("llm_response", cache.key(asking(str(number)))))
        stored = client.get(names[0])
        client.set(names[0], b"rubbish", ex=100)
        client.set(names[1], stored[:20], ex=100)
        client.set(names[2], stored[:2] + b"\x63" + stored[3:], ex=100)  # of version 99
        client.delete(names[3])
        client.rpush(names[3], "a list")
        client.expire(names[3], 100)

        assert await cache.cleanup_expired_cache() == 2
        assert [client.exists(name) for name in names] == [0, 0, 1, 1, 1]
        assert await cache.get_cached_response(asking("4")) == RESPONSE
        for number in range(4):
            assert await cache.get_cached_response(asking(str(number))) is None
    client.close()
