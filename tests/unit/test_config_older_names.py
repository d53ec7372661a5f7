"""The flat names of older systems' settings, as arguments of `CacheConfig`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stoker.core import CacheBackend, CacheConfig
from stoker.core.settings.fields import find
from stoker.core.settings.older_names import (
    ALL_TYPES,
    BACKENDS,
    OLDER_ARGUMENTS,
    WITHOUT_EFFECT,
    ConfigArguments,
)
from tests.configuring import problems

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "configuration.md"


def make(**arguments: Any) -> CacheConfig:
    return CacheConfig(**arguments)


def refusal(**arguments: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        make(**arguments)
    return str(caught.value)


def value_at(config: CacheConfig, path: tuple[str | int, ...]) -> Any:
    here: Any = config
    for name in path:
        here = (
            here["db_query" if name == ALL_TYPES else name]
            if isinstance(here, dict)
            else getattr(here, str(name))
        )
    return here


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("url", "redis://cache:1/2", "redis://cache:1/2"),
        ("redis_url", "redis://cache:1/2", "redis://cache:1/2"),
        ("redis_host", "cache", "cache"),
        ("redis_port", 6380, 6380),
        ("redis_db", 3, 3),
        ("redis_username", "me", "me"),
        ("max_connections", 7, 7),
        ("socket_timeout", 5, 5.0),
        ("socket_connect_timeout", 5, 5.0),
        ("socket_keepalive", False, False),
        ("key_prefix", "myapp", "myapp"),
        ("compression_level", 6, 6),
        ("max_size", 500, 500),
        ("l1_max_size", 100, 100),
        ("memory_cache_size", 200, 200),
        ("l1_ttl", 300, 300.0),
        ("compression_threshold", 2000, 2000),
    ],
)
def test_an_older_name_sets_its_field(name: Any, given: Any, expected: Any) -> None:
    assert value_at(make(**{name: given}), OLDER_ARGUMENTS[name]) == expected


def test_the_password_of_an_older_name_is_a_secret() -> None:
    config = make(redis_password="hunter2", redis_host="cache")
    assert config.redis.password is not None
    assert config.redis.password.get_secret_value() == "hunter2"
    assert config.redis.url == "redis://:hunter2@cache:6379/0"
    assert "hunter2" not in repr(config)
    assert "hunter2" not in refusal(redis_password="hunter2", redis_port=0)


@pytest.mark.parametrize("path", OLDER_ARGUMENTS.values())
def test_each_older_name_stands_for_a_field_that_there_is(path: tuple[str, ...]) -> None:
    assert find(CacheConfig, path) is not None


def test_all_older_names_can_be_written_as_typed_arguments_and_no_others() -> None:
    fields = set(CacheConfig.model_fields)
    assert set(ConfigArguments.__annotations__) == fields | set(OLDER_ARGUMENTS) | WITHOUT_EFFECT | {
        "backend"
    }


def test_the_page_has_one_row_for_each_older_name() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    shown = {name: place for name, place in rows if name in OLDER_ARGUMENTS}
    wanted = {
        name: ".".join(map(str, path)).replace("types.*", 'types."*"')
        for name, path in OLDER_ARGUMENTS.items()
    }
    assert shown == wanted


@pytest.mark.parametrize(
    ("backend", "enabled", "tiers"),
    [
        (CacheBackend.MEMORY, False, ("redis",)),
        ("redis", True, ("redis",)),
        (CacheBackend.REDIS, True, ("redis",)),
        ("multi_layer", True, ("memory", "redis")),
    ],
)
def test_a_backend_says_where_entries_are_kept(backend: Any, enabled: bool, tiers: tuple[str, ...]) -> None:
    config = make(backend=backend)
    assert config.redis.enabled is enabled
    assert {policy.tiers for policy in config.types.values()} == {tiers}


def test_every_backend_has_its_place() -> None:
    assert set(BACKENDS) == set(CacheBackend)
    assert "'files' is none; there are: memory, redis, multi_layer" in refusal(backend="files")


def test_what_holds_for_all_types_holds_where_a_type_says_nothing() -> None:
    config = make(
        l1_ttl=300,
        backend="multi_layer",
        types={"mine": {"memory_ttl": 5}, "session": {"tiers": ["redis"]}, "other": {}},
    )
    assert config.policy("mine").memory_ttl == 5
    assert config.policy("other").memory_ttl == config.policy("db_query").memory_ttl == 300
    assert config.policy("session").tiers == ("redis",)
    assert config.policy("session").kind == "authoritative"
    assert config.policy("other").tiers == ("memory", "redis")
    assert ALL_TYPES not in config.types


def test_older_and_newer_names_that_say_the_same_agree() -> None:
    config = make(
        redis_url="redis://a:1/0", url="redis://a:1/0", redis={"url": "redis://a:1/0"}, default_ttl=5
    )
    assert (config.redis.url, config.default_ttl) == ("redis://a:1/0", 5.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"redis_url": "redis://a", "url": "redis://b"}, "url and redis_url both mean redis.url, and differ"),
        (
            {"redis_url": "redis://a", "redis": {"url": "redis://b"}},
            "redis_url and redis.url are both given, and differ",
        ),
        ({"max_size": 5, "memory": {"entries": 6}}, "max_size and memory.entries are both given, and differ"),
        ({"max_size": 5, "memory_cache_size": 6}, "memory_cache_size and max_size both mean memory.entries"),
        ({"key_prefix": "a", "prefix": "b"}, "key_prefix and prefix are both given, and differ"),
        (
            {"l1_ttl": 5, "types": {"*": {"memory_ttl": 6}}},
            "l1_ttl and types.*.memory_ttl are both given, and differ",
        ),
        (
            {"backend": "multi_layer", "types": {"*": {"tiers": ["redis"]}}},
            "backend and types.*.tiers are both given, and differ",
        ),
        (
            {"backend": "memory", "redis": {"enabled": True}},
            "backend and redis.enabled are both given, and differ",
        ),
        ({"encoding": "latin-1"}, "encoding: texts are stored as UTF-8 alone, not as 'latin-1'"),
        ({"redis_prot": 5}, "redis_prot"),
        ({"redis": 5, "redis_port": 5}, "redis"),
    ],
)
def test_names_that_contradict_each_other_or_say_what_can_t_be_are_refused(
    arguments: dict[str, Any], said: str
) -> None:
    assert said in refusal(**arguments)


def test_models_are_laid_over_as_mappings_are() -> None:
    base = make(redis={"timeout": 3}, types={"*": {"stale": 5}})
    config = make(redis=base.redis, redis_host="cache", types={"mine": base.policy("session")}, l1_ttl=9)
    assert (config.redis.timeout, config.redis.host) == (3.0, "cache")
    assert (config.policy("mine").stale, config.policy("mine").memory_ttl) == (5.0, 9.0)


@pytest.mark.parametrize(
    ("arguments", "entries"),
    [
        ({}, 1000),
        ({"backend": "memory"}, 1000),
        ({"backend": "redis"}, 1000),
        ({"backend": "multi_layer"}, 100),
        ({"backend": CacheBackend.MULTI_LAYER}, 100),
    ],
)
def test_of_the_two_sizes_of_memory_that_of_the_backend_goes(arguments: dict[str, Any], entries: int) -> None:
    assert make(max_size=1000, l1_max_size=100, **arguments).memory.entries == entries


def test_what_has_no_effect_is_understood() -> None:
    assert make(decode_responses=True, encoding="UTF-8", key_prefix="", redis_password=None) == CacheConfig()


def test_files_know_the_fields_own_names_alone(tmp_path: Path) -> None:
    (said,) = problems(tmp_path, "redis_url: redis://a", model=CacheConfig)
    assert "redis_url: no such field" in said
