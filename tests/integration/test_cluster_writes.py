"""Batches, in-place changes, tokens and counters on a real Redis Cluster."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stoker.core import CacheManager, Key, Tag
from tests.clusters import ClusterServers
from tests.managers import make_manager
from tests.waiting import eventually

TIERS = pytest.mark.parametrize("tiers", [["redis"], ["memory", "redis"]])


def manager(cluster: ClusterServers, prefix: str, tiers: list[str]) -> CacheManager:
    return make_manager(cluster, prefix, page={"ttl": 60, "tiers": tiers})


@TIERS
async def test_batches_go_to_all_servers(
    cluster: ClusterServers, cluster_prefix: str, tiers: list[str]
) -> None:
    async with manager(cluster, cluster_prefix, tiers) as cache:
        values: dict[str, Any] = {f"k{n}": {"n": n} for n in range(300)}
        assert await cache.set_many("page", values, tags=["all"]) == 300
        assert await cache.get_many("page", [*values, "missing"]) == values
        assert await cache.delete_many("page", ["k0", "k1", "missing"]) == 2
        await cache.invalidate(Tag("all"))
        assert await cache.get_many("page", values) == {}


@TIERS
async def test_changes_in_place(cluster: ClusterServers, cluster_prefix: str, tiers: list[str]) -> None:
    async with manager(cluster, cluster_prefix, tiers) as cache:
        for n in range(10):
            key = f"k{n}"
            answers = await asyncio.gather(*(cache.set("page", key, i, if_absent=True) for i in range(5)))
            assert sum(answers) == 1
            assert await cache.expire("page", key, 5)
            left = await cache.ttl("page", key)
            assert left is not None
            assert left <= 5
            assert await cache.touch("page", key)
            assert await cache.increment("page", key, 3) == 3
            assert await cache.delete("page", key) == 2
            assert not await cache.exists("page", key)


@TIERS
async def test_tokens_and_write_through(
    cluster: ClusterServers, cluster_prefix: str, tiers: list[str]
) -> None:
    one, two = (manager(cluster, cluster_prefix, tiers) for _ in range(2))
    async with one, two:
        token = await one.fill("page", "k")
        await two.invalidate(Key("page", "k"))
        await asyncio.create_task(one.set("page", "k", "computed before", token=token))
        assert await two.get("page", "k") is None
        async with one.write_through("page", "k") as write:
            write.value = "new"
        assert write.stored
        assert await two.get("page", "k") == "new"
        await one.set("page", "k", "newer")

        async def is_newer() -> bool:
            return bool(await two.get("page", "k") == "newer")

        await eventually(is_newer, "the overwrite is heard of")
