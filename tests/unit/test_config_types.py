"""Cache types: the built-in ones, those of the file, and which TTL wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stoker.core.settings.config import CacheConfig, RedisConfig
from stoker.core.settings.policy import BUILTIN_TYPES, Policy, WarmPolicy
from tests.configuring import load_cache, problems

BUILTIN_TTLS = {
    "llm_response": 7200,
    "stt_transcription": 86400,
    "tts_synthesis": 86400,
    "session": 1800,
    "db_query": 300,
}


def test_the_defaults() -> None:
    config = CacheConfig()

    assert config.prefix == "stoker"
    assert config.default_ttl == 3600
    assert config.redis == RedisConfig(
        url="redis://localhost:6379/0", max_connections=50, connect_timeout=0.5, timeout=0.1
    )
    assert {name: policy.ttl for name, policy in config.types.items()} == BUILTIN_TTLS
    assert config.types["session"].kind == "authoritative"
    assert config.types["session"].warm.mode == "none"
    assert config.loaders == []


def test_single_fields_of_a_built_in_type_can_be_changed(tmp_path: Path) -> None:
    config = load_cache(tmp_path, "types: {session: {stale: 5s, warm: {keys: 7}}}").value

    session = config.types["session"]
    assert (session.ttl, session.stale, session.kind) == (1800, 5, "authoritative")
    assert (session.warm.mode, session.warm.keys) == ("none", 7)
    assert set(config.types) == set(BUILTIN_TYPES)


def test_the_same_from_python() -> None:
    config = CacheConfig(types={"session": Policy(stale=5, warm=WarmPolicy(keys=7)), "mine": Policy(stale=1)})

    assert config.types["session"].ttl == 1800
    assert config.types["session"].warm == WarmPolicy(mode="none", keys=7)
    assert config.types["mine"].ttl == 3600


def test_a_name_alone_is_a_type_with_all_defaults(tmp_path: Path) -> None:
    config = load_cache(tmp_path, "default_ttl: 2m\ntypes:\n  product:\n  # nothing here\n").value

    assert config.types["product"] == Policy(ttl=120)


@pytest.mark.parametrize("section", ["types:", "redis:", "loaders: []", "types: {}"])
def test_an_empty_section_says_nothing(tmp_path: Path, section: str) -> None:
    assert load_cache(tmp_path, section).value == CacheConfig()


TTL_CASES: list[tuple[str, dict[str, str], str, float, str]] = [
    # file, environment, type, its TTL, where that comes from
    ("", {}, "llm_response", 7200, "default"),
    ("default_ttl: 5m", {}, "llm_response", 7200, "default"),
    ("", {"CACHE_DEFAULT_TTL": "60"}, "llm_response", 7200, "default"),
    ("types: {llm_response: {ttl: 9s}}", {}, "llm_response", 9, "stoker.yaml:1"),
    ("types: {llm_response: {ttl: 9s}}", {"CACHE_DEFAULT_TTL": "60"}, "llm_response", 9, "stoker.yaml:1"),
    (
        "types: {llm_response: {ttl: 9s}}",
        {"CACHE_TTL_LLM": "11"},
        "llm_response",
        11,
        "environment variable CACHE_TTL_LLM",
    ),
    (
        "types: {llm_response: {ttl: 9s}}",
        {"CACHE_TTL_LLM": "11", "STOKER_TYPES__LLM_RESPONSE__TTL": "12s"},
        "llm_response",
        12,
        "environment variable STOKER_TYPES__LLM_RESPONSE__TTL",
    ),
    ("types: {mine: {}}", {}, "mine", 3600, "default_ttl, default"),
    ("default_ttl: 5m\ntypes: {mine: {}}", {}, "mine", 300, "default_ttl, stoker.yaml:1"),
    (
        "default_ttl: 5m\ntypes: {mine: {}}",
        {"CACHE_DEFAULT_TTL": "60"},
        "mine",
        60,
        "default_ttl, environment variable CACHE_DEFAULT_TTL",
    ),
    (
        "default_ttl: 5m\ntypes: {mine: {}}",
        {"CACHE_DEFAULT_TTL": "60", "STOKER_DEFAULT_TTL": "61"},
        "mine",
        61,
        "default_ttl, environment variable STOKER_DEFAULT_TTL",
    ),
    ("default_ttl: 5m\ntypes: {mine: {ttl: 1s}}", {"CACHE_DEFAULT_TTL": "60"}, "mine", 1, "stoker.yaml:2"),
    (
        "types: {mine: {ttl: 1s}}",
        {"STOKER_TYPES__MINE__TTL": "250ms"},
        "mine",
        0.25,
        "environment variable STOKER_TYPES__MINE__TTL",
    ),
]


@pytest.mark.parametrize(("text", "environ", "name", "ttl", "origin"), TTL_CASES)
def test_which_ttl_holds(
    tmp_path: Path, text: str, environ: dict[str, str], name: str, ttl: float, origin: str
) -> None:
    loaded = load_cache(tmp_path, text, environ)

    assert loaded.value.types[name].ttl == ttl
    assert str(loaded.origins[f"types.{name}.ttl"]).replace(f"{tmp_path}/", "") == origin


@pytest.mark.parametrize("name", ["Product", "a b", "1st", "a-b", "a:b", "", "x" * 65, "é", "a{b}"])
def test_names_that_no_type_can_have(tmp_path: Path, name: str) -> None:
    (line,) = problems(tmp_path, f"types:\n  {name!r}: {{ttl: 1s}}\n")

    assert line.startswith("stoker.yaml:2: types.")
    assert "can't name a cache type: use a lower-case letter" in line


@pytest.mark.parametrize("types", ["text", "[a, b]", "5", "true"])
def test_types_that_are_no_mapping(tmp_path: Path, types: str) -> None:
    (line,) = problems(tmp_path, f"types: {types}")

    assert line.startswith("stoker.yaml:1: types: ")
    assert line.endswith("give `name: value` lines")


@pytest.mark.parametrize("given", [{"types": None}, {"types": [1]}, {"types": {"a": 1}}, {"nope": 1}])
def test_python_gets_pydantics_errors(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CacheConfig.model_validate(given)


def test_nothing_changes_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        CacheConfig().prefix = "other"  # type: ignore[misc]


def test_a_configuration_survives_being_written_and_read(tmp_path: Path) -> None:
    config = load_cache(tmp_path, "types: {mine: {warm: {mode: none}}, session: {ttl: 3s}}").value

    assert CacheConfig.model_validate(config.model_dump()) == config
    assert CacheConfig.model_validate_json(config.model_dump_json()) == config
