"""Settings from the environment: names, forms, and what is not ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from stoker.core.settings.config import WORKER_FIELDS, CacheConfig, load_config
from stoker.core.settings.environment import OLDER_NAMES, OLDER_NAMES_TOO
from stoker.core.settings.fields import find
from stoker.core.settings.problems import dotted
from stoker.worker.config import StokerConfig
from tests.configuring import load, load_cache, problems

TEXT = """\
types:
  product: {ttl: 1m}
schedule:
  warm-products: {task: warm, every: 2s, options: {type: product}}
up:
  processes:
    shop: {command: python -m shop}
"""


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("STOKER_PREFIX", "shop", "prefix", "shop"),
        ("STOKER_PREFIX", "  shop ", "prefix", "shop"),
        ("STOKER_PREFIX", "123", "prefix", "123"),
        ("STOKER_REDIS__URL", "rediss://h:1/2", "redis.url", "rediss://h:1/2"),
        ("REDIS_URL", "redis://old", "redis.url", "redis://old"),
        ("REDIS_URL", "valkey://old", "redis.url", "redis://old"),
        ("REDIS_MAX_CONNECTIONS", "7", "redis.max_connections", 7),
        ("CACHE_DEFAULT_TTL", "90", "default_ttl", 90.0),
        ("CACHE_TTL_LLM", "1", "types.llm_response.ttl", 1.0),
        ("CACHE_TTL_STT", "2s", "types.stt_transcription.ttl", 2.0),
        ("CACHE_TTL_TTS", "3", "types.tts_synthesis.ttl", 3.0),
        ("CACHE_TTL_SESSION", "4", "types.session.ttl", 4.0),
        ("CACHE_TTL_DB", "1h 1m", "types.db_query.ttl", 3660.0),
        ("CACHE_METRICS_TTL", "3600", "metrics.retention", 3600.0),
        ("STOKER_TYPES__PRODUCT__TTL", "5m", "types.product.ttl", 300.0),
        ("STOKER_TYPES__PRODUCT__WARM__MODE", "none", "types.product.warm.mode", "none"),
        ("STOKER_TYPES__PRODUCT__MAX_ENTRY", "2 MiB", "types.product.max_entry", 2 * 2**20),
        ("STOKER_TYPES__SESSION__STALE", "5", "types.session.stale", 5.0),
        ("STOKER_TYPES__BRAND_NEW__TTL", "5", "types.brand_new.ttl", 5.0),
        ("STOKER_LOADERS", "a.b, c", "loaders", ["a.b", "c"]),
        ("STOKER_LOADERS", '["a.b", c]', "loaders", ["a.b", "c"]),
        ("STOKER_LOADERS", "[]", "loaders", []),
        ("STOKER_METRICS__WINDOWS", "30s,5m", "metrics.windows", [30.0, 300.0]),
        ("STOKER_WORKER__LISTEN", "null", "worker.listen", None),
        ("STOKER_WORKER__LISTEN", "None", "worker.listen", None),
        ("STOKER_WORKER__LISTEN", "0.0.0.0:80", "worker.listen", "0.0.0.0:80"),
        ("STOKER_SCHEDULE__WARM_PRODUCTS__EVERY", "9s", "schedule.warm-products.every", 9.0),
        ("STOKER_SCHEDULE__WARM_PRODUCTS__ENABLED", "false", "schedule.warm-products.enabled", False),
        ("STOKER_SCHEDULE__WARM__OPTIONS__LIMIT", "5", "schedule.warm.options.limit", 5),
        ("STOKER_SCHEDULE__WARM__OPTIONS__TYPE", "product", "schedule.warm.options.type", "product"),
        ("STOKER_UP__PROCESSES__SHOP__CWD", "/srv", "up.processes.shop.cwd", "/srv"),
        ("STOKER_TYPES", '{"price": {"ttl": "7s"}}', "types.price.ttl", 7.0),
        ("STOKER_TYPES__PRODUCT__WARM", "{keys: 3}", "types.product.warm.keys", 3),
        ("STOKER_REDIS", "{timeout: 1s}", "redis.timeout", 1.0),
        ("STOKER_LOGS__LEVEL", "debug", "logs.level", "debug"),
    ],
)
def test_a_variable_sets_its_field(
    tmp_path: Path, variable: str, text: str, field: str, value: object
) -> None:
    loaded = load(tmp_path, TEXT, {variable: text})

    found: object = loaded.value.model_dump()
    for name in field.split("."):
        assert isinstance(found, dict)
        found = found[name]
    assert found == value
    assert (loaded.origins[field].kind, loaded.origins[field].detail) == ("environment", variable)
    changed = {name for name, origin in loaded.origins.items() if origin.kind == "environment"}
    assert changed == {field, *(dotted(path) for name, path in OLDER_NAMES_TOO.items() if name == variable)}


def test_the_new_name_wins_over_the_old(tmp_path: Path) -> None:
    loaded = load_cache(
        tmp_path,
        "redis: {url: 'redis://file'}",
        {"REDIS_URL": "redis://old", "STOKER_REDIS__URL": "redis://new"},
    )

    assert loaded.value.redis.url == "redis://new"
    assert loaded.origins["redis.url"].detail == "STOKER_REDIS__URL"


def test_a_section_is_laid_over_field_by_field_and_single_variables_over_it(tmp_path: Path) -> None:
    environ = {
        "STOKER_TYPES": "{product: {stale: 2s, ttl: 3s}}",
        "STOKER_TYPES__PRODUCT__TTL": "4s",
        "STOKER_TYPES__PRODUCT": "{ttl: 5s, jitter: 0.1}",
    }

    product = load_cache(tmp_path, "types: {product: {ttl: 1s, negative_ttl: 9s}}", environ).value.types[
        "product"
    ]

    assert (product.ttl, product.stale, product.jitter, product.negative_ttl) == (4, 2, 0.1, 9)


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_variable_counts_as_not_set(tmp_path: Path, empty: str) -> None:
    environ = dict.fromkeys(
        ["REDIS_URL", "CACHE_TTL_LLM", "STOKER_PREFIX", "STOKER_NONSENSE", "STOKER_LOADERS"], empty
    )

    assert load(tmp_path, "", environ).value == StokerConfig()


@pytest.mark.parametrize(
    ("variable", "suggestion"),
    [
        ("STOKER_REDIS_URL", "did you mean STOKER_REDIS__URL?"),
        ("STOKER_REDIS__ULR", "did you mean STOKER_REDIS__URL?"),
        ("STOKER_PREFX", "did you mean STOKER_PREFIX?"),
        ("STOKER_TYPES__LLM_RESPONS__TTL", "did you mean STOKER_TYPES__LLM_RESPONSE__TTL?"),
        ("STOKER_TYPES__PRODUCTS__TTL", "did you mean STOKER_TYPES__PRODUCT__TTL?"),
        ("STOKER_TYPES__PRODUCT__TLL", "did you mean STOKER_TYPES__PRODUCT__TTL?"),
        ("STOKER_SCHEDULE__WARM_PRODUCT__EVERY", "did you mean STOKER_SCHEDULE__WARM_PRODUCTS__EVERY?"),
        ("STOKER_WORKER__CONCURENCY", "did you mean STOKER_WORKER__CONCURRENCY?"),
        ("STOKER_PREFIX__X", "did you mean STOKER_PREFIX?"),
        ("STOKER_", "docs/configuration.md lists the fields"),
        ("STOKER_TYPES__", "did you mean STOKER_TYPES?"),
        ("STOKER_ZZZZZZZZZZ", "docs/configuration.md lists the fields"),
    ],
)
def test_a_variable_that_means_no_field(tmp_path: Path, variable: str, suggestion: str) -> None:
    said = problems(tmp_path, TEXT, {variable: "redis://u:secret@h"})

    assert said == [f"environment variable {variable}: names no field of the configuration; {suggestion}"]


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        (
            "CACHE_TTL_LLM",
            "abc",
            "types.llm_response.ttl: 'abc' is not allowed: give seconds, or a text like 250ms",
        ),
        ("CACHE_TTL_LLM", "-1", "types.llm_response.ttl: '-1' is not allowed: give seconds"),
        ("CACHE_TTL_LLM", "0", "types.llm_response.ttl: '0' is not allowed: give seconds"),
        ("CACHE_TTL_LLM", "nan", "types.llm_response.ttl: 'nan' is not allowed"),
        ("CACHE_TTL_LLM", "1e9", "types.llm_response.ttl: '1e9' is not allowed"),
        (
            "REDIS_MAX_CONNECTIONS",
            "many",
            "redis.max_connections: 'many' is not allowed: give a whole number from 1 up to",
        ),
        (
            "REDIS_MAX_CONNECTIONS",
            "0",
            "redis.max_connections: '0' is not allowed: give a whole number from 1",
        ),
        ("REDIS_MAX_CONNECTIONS", "1.5", "redis.max_connections: '1.5' is not allowed"),
        (
            "REDIS_URL",
            "localhost:6379",
            "redis.url: 'localhost:6379' is no URL of a kind that is known here: redis://",
        ),
        (
            "STOKER_LOGS__LEVEL",
            "loud",
            "logs.level: 'loud' is not allowed: give debug, info, warning or error",
        ),
        ("STOKER_LOADERS", "a b", "loaders[0]: 'a b' is no module's name"),
        ("STOKER_LOADERS", "[a", "loaders: not readable as a list, each item a text"),
        ("STOKER_TYPES", "5", "types: not readable as `name: value` lines"),
        ("STOKER_TYPES", "{product: *x}", "types: not readable"),
        ("STOKER_REDIS", "{uri: x}", "redis.uri: no such field; did you mean url?"),
        (
            "STOKER_TYPES__BRAND_NEW__WARM__MODE",
            "x",
            "types.brand_new.warm.mode: 'x' is not allowed: give reload or none",
        ),
        ("STOKER_UP__PROCESSES__API__CWD", "/", "up.processes.api.command: must be given"),
    ],
)
def test_a_wrong_value_names_the_variable(tmp_path: Path, variable: str, text: str, said: str) -> None:
    (line,) = problems(tmp_path, TEXT, {variable: text})

    assert line.startswith(f"environment variable {variable}: {said}")


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("STOKER_CONFIG", "elsewhere.yaml"),
        ("STOKER_TEST_RABBITMQ", "1"),
        ("STOKER_SERVICE_HOST", "10.0.0.7"),
        ("STOKER_SERVICE_PORT", "9540"),
        ("STOKER_SERVICE_PORT_METRICS", "9540"),
        ("STOKER_PORT", "tcp://10.0.0.7:9540"),
        ("STOKER_PORT_9540_TCP", "tcp://10.0.0.7:9540"),
        ("STOKER_PORT_9540_TCP_ADDR", "10.0.0.7"),
        ("STOKER_PORT_9540_TCP_PROTO", "tcp"),
        ("STOKER_WORKER_SERVICE_HOST", "10.0.0.7"),
        ("STOKER_WORKER_PORT_9541_TCP_PORT", "9541"),
        ("stoker_prefix", "x"),
        ("OTHER_PREFIX", "x"),
    ],
)
def test_variables_that_are_not_settings(tmp_path: Path, variable: str, text: str) -> None:
    assert load(tmp_path, "", {variable: text}).value == StokerConfig()


def test_the_library_leaves_the_workers_settings_alone(tmp_path: Path) -> None:
    environ = {"STOKER_WORKER__NONSENSE": "x", "STOKER_LOGS": "x", "STOKER_METRICS__RETENTION": "x"}

    assert load_cache(tmp_path, "worker: {nonsense: 1}\nlogs: 5\n", environ).value == CacheConfig()
    assert len(problems(tmp_path, "worker: {nonsense: 1}\nlogs: 5\n", environ)) >= 4


def test_the_workers_fields_are_those_that_the_library_knows_of() -> None:
    assert set(StokerConfig.model_fields) - set(CacheConfig.model_fields) == WORKER_FIELDS


def test_the_older_names_mean_fields_that_exist() -> None:
    assert all(find(StokerConfig, path) for path in (*OLDER_NAMES.values(), *OLDER_NAMES_TOO.values()))


def test_which_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("stoker", "named", "given"):
        (tmp_path / f"{name}.yaml").write_text(f"prefix: {name}\n", encoding="utf-8")

    named = {"STOKER_CONFIG": "named.yaml"}

    assert load_config(CacheConfig, "given.yaml", named).value.prefix == "given"
    assert load_config(CacheConfig, None, named).value.prefix == "named"
    assert load_config(CacheConfig, None, {}).value.prefix == "stoker"
    assert load_config(CacheConfig, None, {}).path == Path("stoker.yaml")
    assert str(load_config(CacheConfig, None, named).origins["prefix"]) == "named.yaml:1"


def test_no_file_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    loaded = load_config(CacheConfig, None, {})

    assert loaded.value == CacheConfig()
    assert loaded.path is None
    assert {origin.kind for origin in loaded.origins.values()} == {"default"}


def test_the_processs_own_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STOKER_PREFIX", "mine")

    assert load_config(CacheConfig).value.prefix == "mine"
