"""Names of types go wherever their texts do."""

from __future__ import annotations

import copy

import pytest

from stoker.core import CacheConfig, CacheManager, CacheType, Event, Key, Pattern, Scope, Type, cached
from stoker.core.log.scopes import to_fields
from stoker.core.settings.policy import BUILTIN_TYPES
from tests.managers import make_config
from tests.servers import RedisServer

ALONE = CacheConfig.model_validate({"redis": {"enabled": False}})


def test_there_is_a_name_for_each_built_in_type_and_for_no_other() -> None:
    assert {str(name) for name in CacheType} == set(BUILTIN_TYPES)


@pytest.mark.parametrize("name", list(CacheType))
def test_a_name_is_its_text_also_as_a_key_of_a_dict_and_in_a_text(name: CacheType) -> None:
    text = str.__str__(name)
    by_name: dict[str, int] = {name: 1}
    assert {text: 1}[name] == by_name[text] == 1
    assert f"{name}" == name == text
    assert copy.deepcopy(name) is name


@pytest.mark.parametrize("name", list(CacheType))
def test_scopes_and_events_of_a_name_are_those_of_its_text(name: CacheType) -> None:
    text = name.value
    pairs: list[tuple[Scope, Scope]] = [
        (Key(name, "k"), Key(text, "k")),
        (Type(name), Type(text)),
        (Pattern(name, "k*"), Pattern(text, "k*")),
    ]
    for scope, same in pairs:
        assert to_fields([scope]) == to_fields([same])
    assert Event("1", (Key(name, "k"),)).pack() == Event("1", (Key(text, "k"),)).pack()


async def test_values_stored_under_a_name_are_found_under_its_text_and_the_other_way_round(
    redis_server: RedisServer, prefix: str
) -> None:
    for config in (ALONE, make_config(redis_server, prefix)):
        async with CacheManager(config, recording=False) as cache:
            await cache.set(CacheType.SESSION, "a", 1)
            await cache.set("session", "b", 2)
            assert await cache.get_many(CacheType.SESSION, ["a", "b"]) == {"a": 1, "b": 2}
            assert await cache.get("session", "a") == await cache.cache(CacheType.SESSION).get("a") == 1
            assert await cache.delete(CacheType.SESSION, "b") == 1
            assert (await cache.invalidate_type(CacheType.SESSION)).acknowledged
            assert await cache.get("session", "a") is None
            assert cache.counters.of("session") is cache.counters.of(CacheType.SESSION)
            assert (await cache.get_stats(CacheType.SESSION)).cache_type == "session"


async def test_configurations_and_decorators_take_names() -> None:
    config = CacheConfig.model_validate(
        {
            "redis": {"enabled": False},
            "types": {CacheType.DB_QUERY: {"ttl": 7}},
        }
    )
    assert config.policy(CacheType.DB_QUERY).ttl == config.policy("db_query").ttl == 7
    async with CacheManager(config) as cache:

        @cached(cache=cache, cache_type=CacheType.DB_QUERY)
        async def double(number: int) -> int:
            return number * 2

        assert await double(2) == await double(2) == 4
        assert cache.counters.of("db_query").hits == 1
