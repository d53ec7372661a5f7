"""What holds for a cache that is given no configuration: the environment, and arguments over it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stoker.core import (
    AIResponseCache,
    CacheConfig,
    CacheManager,
    ConfigError,
    MemoryCache,
    MultiLayerCache,
    Policy,
    RedisCache,
    ResponseCache,
    SyncCacheManager,
    UsageError,
    load_config,
)
from stoker.core.settings.config import MemoryConfig, RedisConfig
from stoker.core.settings.given import from_environment

ENVIRONMENT = {
    "REDIS_URL": "redis://me:hunter2@elsewhere:1/3",
    "REDIS_MAX_CONNECTIONS": "9",
    "CACHE_DEFAULT_TTL": "77",
    "CACHE_TTL_LLM": "60",
    "CACHE_METRICS_TTL": "500",
    "CACHE_COMPRESSION_THRESHOLD": "2000",
    "STOKER_REDIS__TIMEOUT": "2s",
    "STOKER_MEMORY__ENTRIES": "33",
    "STOKER_TYPES__PAGE__TTL": "5m",
    "STOKER_BROKER__URL": "redis://broker",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A process that was started in a directory with a file, and with these variables."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "stoker.yaml"
    file.write_text("prefix: of_the_file\n", encoding="utf-8")
    monkeypatch.setenv("STOKER_CONFIG", str(file))
    monkeypatch.chdir(tmp_path)
    return file


def test_the_older_names_mean_the_same_wherever_no_configuration_is_given(environment: Path) -> None:
    for config in (
        CacheManager().config,
        ResponseCache().manager.config,
        RedisCache(namespace="a").manager.config,
        MultiLayerCache().manager.config,
        AIResponseCache().manager.config,
        from_environment(),
    ):
        redis = config.redis
        assert (redis.url, redis.max_connections, redis.timeout) == (ENVIRONMENT["REDIS_URL"], 9, 2.0)
        assert (config.default_ttl, config.request_metrics_ttl) == (77.0, 500.0)
        assert (config.policy("llm_response").ttl, config.policy("page").ttl) == (60.0, 300.0)
        assert config.prefix == "stoker", "no file is read"
    assert MemoryCache().manager.config.memory.entries == 33
    assert MemoryCache().manager.policy("cache").ttl == 77
    assert RedisCache().manager.policy("cache").compress_above == 2000
    assert load_config(CacheConfig).value.prefix == "of_the_file"


def test_an_explicit_configuration_stays_what_was_written(environment: Path) -> None:
    usual = CacheConfig()
    assert CacheManager(usual).config == usual
    assert usual.redis.url == RedisCache(CacheConfig()).manager.config.redis.url == "redis://localhost:6379/0"
    assert MemoryCache(CacheConfig()).manager.policy("cache").ttl == 3600


def test_arguments_go_over_the_environment_field_by_field(environment: Path) -> None:
    config = RedisCache(default_ttl=5, socket_connect_timeout=7, max_connections=3).manager.config
    assert (config.default_ttl, config.policy("cache").ttl, config.policy("llm_response").ttl) == (5, 5, 60)
    redis = config.redis
    assert (redis.connect_timeout, redis.timeout, redis.max_connections) == (7, 2.0, 3)
    assert redis.url == ENVIRONMENT["REDIS_URL"]
    given: dict[str, Any] = {
        "types": {"page": Policy(stale=9), "other": {"ttl": 8}},
        "redis": RedisConfig(keepalive=False),
        "memory": MemoryConfig(bytes=2**24),
    }
    config = from_environment(given)
    assert (config.policy("page").ttl, config.policy("page").stale, config.policy("other").ttl) == (300, 9, 8)
    assert (config.redis.keepalive, config.redis.timeout) == (False, 2.0)
    assert (config.memory.entries, config.memory.bytes) == (33, 2**24)


@pytest.mark.parametrize(
    ("arguments", "url"),
    [
        ({"redis_url": "redis://cache:5"}, "redis://cache:5"),
        ({"redis_host": "cache"}, "redis://cache:6379/0"),
        ({"redis_host": "cache", "redis_db": 1}, "redis://cache:6379/1"),
        ({"redis": {"url": "redis://cache:5"}}, "redis://cache:5"),
        ({"redis_db": 1}, "redis://me:hunter2@elsewhere:1/1"),
        ({"redis_password": "new"}, "redis://me:new@elsewhere:1/3"),
    ],
)
def test_an_argument_that_names_the_server_is_not_mixed_with_another_one_s_login(
    environment: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], url: str
) -> None:
    assert RedisCache(**arguments).manager.config.redis.url == url
    monkeypatch.setenv("STOKER_REDIS__DB", "7")
    monkeypatch.setenv("STOKER_REDIS__PASSWORD", "hunter3")
    config = RedisCache(**arguments).manager.config.redis
    if "cache" in url:
        assert config.url == url
    assert config.timeout == 2.0


def test_what_is_wrong_is_told_by_its_variable_or_its_argument() -> None:
    with pytest.raises(ConfigError, match=r"variable REDIS_URL: redis\.url: .* is no URL") as caught:
        from_environment({"default_ttl": 5}, {"REDIS_URL": "http://:hunter2@h"})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"STOKER_PREFFIX.*did you mean STOKER_PREFIX"):
        from_environment(environ={"STOKER_PREFFIX": "a"})
    with pytest.raises(UsageError, match="these arguments can't be used: default_ttl: "):
        from_environment({"default_ttl": 0}, {"CACHE_DEFAULT_TTL": "5"})
    with pytest.raises(UsageError, match=r"redis_url and redis\.url are both given, and differ"):
        from_environment({"redis_url": "redis://a", "redis": {"url": "redis://b"}}, {})
    with pytest.raises(UsageError, match="host and port don't go with unix://"):
        from_environment({"redis_port": 5}, {"REDIS_URL": "unix:///run/redis.sock"})


def test_a_store_in_redis_says_which_variable_turns_redis_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_REDIS", "false")
    with pytest.raises(UsageError, match=r"RedisCache needs Redis, which .*\$USE_REDIS turns off"):
        RedisCache()
    assert MemoryCache().manager.config.redis.enabled is False
    assert CacheManager().policy("session").tiers == ("memory",)


def test_callers_without_an_event_loop_get_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere:1/3")
    monkeypatch.setenv("CACHE_TTL_LLM", "60")
    config = SyncCacheManager().config
    assert (config.redis.url, config.types["llm_response"].ttl) == ("redis://elsewhere:1/3", 60)
    assert SyncCacheManager(CacheConfig()).config.redis.url == "redis://localhost:6379/0"
    with pytest.raises(UsageError, match="CacheConfig"):
        SyncCacheManager({"redis": {}})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
