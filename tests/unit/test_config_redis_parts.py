"""Host, port, database, user and password beside the URL: what is given goes over the URL's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from stoker.core import CacheConfig
from stoker.core.settings.addresses import check_redis_url
from stoker.core.settings.config import RedisConfig, load_config
from stoker.core.settings.settings import describe
from stoker.worker.config import StokerConfig
from tests.configuring import load, problems


@pytest.mark.parametrize(
    ("parts", "url"),
    [
        ({}, "redis://localhost:6379/0"),
        ({"host": "cache"}, "redis://cache:6379/0"),
        ({"port": 6380}, "redis://localhost:6380/0"),
        ({"db": 5}, "redis://localhost:6379/5"),
        ({"host": "::1", "port": 7}, "redis://[::1]:7/0"),
        ({"host": "fe80::1%eth0"}, "redis://[fe80::1%eth0]:6379/0"),
        ({"password": "p@/:#?%"}, "redis://:p%40%2F%3A%23%3F%25@localhost:6379/0"),
        ({"username": "me", "password": "pw"}, "redis://me:pw@localhost:6379/0"),
        ({"url": "redis://me:old@a:1/2", "password": "new"}, "redis://me:new@a:1/2"),
        ({"url": "redis://me:pw@a:1/2", "username": "you"}, "redis://you:pw@a:1/2"),
        ({"url": "redis://me:pw@a:1/2", "host": "b", "port": 3, "db": 4}, "redis://me:pw@b:3/4"),
        ({"url": "redis://a", "port": 3}, "redis://a:3"),
        ({"url": "redis://a?db=3&client_name=x", "db": 4}, "redis://a/4?client_name=x"),
        ({"url": "redis://a?password=old", "password": "new"}, "redis://:new@a"),
        ({"url": "rediss://a:1/0?ssl_cert_reqs=none", "host": "b"}, "rediss://b:1/0?ssl_cert_reqs=none"),
        ({"url": "unix:///run/redis.sock", "db": 3}, "unix:///run/redis.sock?db=3"),
        ({"url": "unix:///r.sock", "username": "me", "password": "p w"}, "unix://me:p%20w@/r.sock"),
        ({"url": "redis+cluster://a:1,b:2", "password": "pw"}, "redis+cluster://:pw@a:1,b:2"),
        ({"url": "redis+sentinel://a:1,b:2/main/0", "db": 4}, "redis+sentinel://a:1,b:2/main/4"),
        ({"url": "valkey://a:1/0", "db": 2}, "redis://a:1/2"),
    ],
)
def test_given_parts_go_over_those_of_the_url(parts: dict[str, Any], url: str) -> None:
    config = RedisConfig(**parts)
    assert config.url == url
    assert check_redis_url(url) == url
    assert RedisConfig.model_validate(config.model_dump()).url == url


def test_redis_py_reads_what_was_put_together_as_it_was_meant() -> None:
    from stoker.core.link.clients import asked_for

    config = RedisConfig(host="cache", port=7, db=3, username="m e:@", password=SecretStr("p@/:#?%ü"))
    assert asked_for(config.url) == {"username": "m e:@", "password": "p@/:#?%ü", "db": 3}
    socket = RedisConfig(url="unix:///r.sock", password=SecretStr("p/w"), db=2)
    assert {"password": "p/w", "db": 2, "path": "/r.sock"}.items() <= asked_for(socket.url).items()


@given(user=st.text(min_size=1), password=st.text(min_size=1), db=st.integers(0, 99_999))
@pytest.mark.parametrize(
    "url", ["redis://a:1/0", "redis://x:y@a?db=3&username=u&password=p", "unix:///r.sock"]
)
def test_any_user_and_password_come_out_as_they_were_given(
    url: str, user: str, password: str, db: int
) -> None:
    from stoker.core.link.clients import asked_for

    config = RedisConfig(url=url, username=user, password=SecretStr(password), db=db)
    found = asked_for(config.url)
    assert (found["username"], found["password"], found["db"]) == (user, password, db)


def test_an_empty_password_takes_the_url_s_away() -> None:
    assert RedisConfig(url="redis://me:pw@a:1/0", password=SecretStr("")).url == "redis://me@a:1/0"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"url": "redis+cluster://a:1,b:2", "host": "c"}, "name all servers in redis.url"),
        ({"url": "redis+sentinel://a:1/main", "port": 5}, "name all servers in redis.url"),
        ({"url": "unix:///r.sock", "host": "c"}, "host and port don't go with unix://"),
        ({"url": "redis+cluster://a:1", "db": 5}, "database 0 alone"),
        ({"host": "a b"}, "no host alone"),
        ({"host": "a/b", "password": "hunter2"}, "no host alone"),
        ({"host": ""}, "no host alone"),
        ({"host": "cache:6379"}, "a port as redis.port"),
        ({"host": "redis://default:hunter2@cache"}, "a URL as redis.url"),
        ({"host": "redis://hunter2@cache"}, "a URL as redis.url"),
        ({"host": "default:hunter2@cache"}, "a login as redis.username and redis.password"),
        ({"host": "hunter2@cache:6379"}, "a login as redis.username and redis.password"),
        ({"host": "hunter2@cache"}, "a login as redis.username and redis.password"),
        ({"host": "default:hunter2:6379"}, "no host alone"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"db": -1}, "db"),
    ],
)
def test_parts_that_have_no_place_are_refused_and_no_secret_told(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        RedisConfig(**parts)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_no_secret_is_shown(tmp_path: Path) -> None:
    loaded = load(tmp_path, "redis: {host: cache}", {"STOKER_REDIS__PASSWORD": "hunter2"})
    assert loaded.value.redis.url == "redis://:hunter2@cache:6379/0"
    shown = "\n".join(f"{setting.field}={setting.value}" for setting in describe(loaded))
    assert "redis.password=***" in shown
    assert "hunter2" not in shown + repr(loaded.value) + str(loaded.value.redis)


def test_a_wrong_password_is_not_shown_either(tmp_path: Path) -> None:
    (said,) = problems(tmp_path, "redis: {password: 12345678}", model=StokerConfig)
    assert said == "stoker.yaml:1: redis.password: '***' is not allowed: give a text or null"


def test_a_server_that_its_host_names_is_one_that_was_configured(tmp_path: Path) -> None:
    loaded = load(tmp_path, "", {"STOKER_REDIS__HOST": "cache"})
    assert str(loaded.origins["redis.url"]) == "redis.host, environment variable STOKER_REDIS__HOST"
    assert loaded.value.redis.url == "redis://cache:6379/0"
    assert load(tmp_path, "redis: {db: 5}").origins["redis.url"].kind == "default"


@pytest.mark.parametrize(
    ("environ", "field", "expected"),
    [
        ({"CACHE_TTL": "90"}, "default_ttl", 90.0),
        ({"CACHE_TTL": "90", "CACHE_DEFAULT_TTL": "91"}, "default_ttl", 91.0),
        ({"CACHE_TTL": "90", "STOKER_DEFAULT_TTL": "92"}, "default_ttl", 92.0),
        ({"USE_REDIS": "false"}, "redis.enabled", False),
        ({"USE_REDIS": "0"}, "redis.enabled", False),
        ({"USE_REDIS": "True"}, "redis.enabled", True),
        ({"USE_REDIS": "false", "STOKER_REDIS__ENABLED": "true"}, "redis.enabled", True),
        ({"CACHE_COMPRESSION_THRESHOLD": "2000"}, "types.session.compress_above", 2000),
        ({"CACHE_COMPRESSION_THRESHOLD": "2000"}, "types.mine.compress_above", 2000),
        ({"CACHE_COMPRESSION_THRESHOLD": "2000"}, "types.own.compress_above", 5),
        (
            {"CACHE_COMPRESSION_THRESHOLD": "2000", "STOKER_TYPES__MINE__COMPRESS_ABOVE": "1KiB"},
            "types.mine.compress_above",
            1024,
        ),
    ],
)
def test_older_variables_mean_what_they_always_did(
    tmp_path: Path, environ: dict[str, str], field: str, expected: object
) -> None:
    loaded = load(tmp_path, "types: {mine: {ttl: 5}, own: {compress_above: 5}}", environ)
    assert {setting.field: setting.value for setting in describe(loaded)}[field] == expected


def test_where_a_setting_for_all_types_came_from_is_told(tmp_path: Path) -> None:
    loaded = load(
        tmp_path, 'types: {"*": {stale: 9s, ttl: 7}, mine: {ttl: 5}}', {"CACHE_COMPRESSION_THRESHOLD": "2000"}
    )
    origins = {name: str(origin) for name, origin in loaded.origins.items()}
    variable = "environment variable CACHE_COMPRESSION_THRESHOLD"
    assert origins["types.session.compress_above"] == f"types.*.compress_above, {variable}"
    assert origins["types.mine.stale"].startswith("types.*.stale, ")
    assert origins["types.mine.ttl"].endswith("stoker.yaml:1")
    assert origins["types.session.ttl"] == "default"  # what sets a built-in type apart is stronger
    assert loaded.value.policy("session").ttl == 1800
    assert loaded.value.policy("db_query").stale == 9


def test_what_is_wrong_for_all_types_is_told_once(tmp_path: Path) -> None:
    (said,) = problems(tmp_path, 'types:\n  "*": {compress_above: -1}\n  mine: {ttl: 5}')
    assert said.startswith("stoker.yaml:2: types.*.compress_above: -1 is not allowed: give bytes")
    (said,) = problems(tmp_path, "", {"CACHE_COMPRESSION_THRESHOLD": "much"})
    assert said.startswith("environment variable CACHE_COMPRESSION_THRESHOLD: types.*.compress_above: ")


def test_what_holds_for_all_types_goes_over_the_default_ttl() -> None:
    config = CacheConfig.model_validate({"default_ttl": 5, "types": {"*": {"ttl": 7}, "mine": {}}})
    assert (config.policy("mine").ttl, config.policy("db_query").ttl) == (7.0, 300.0)


def test_the_library_and_the_worker_read_the_same(tmp_path: Path) -> None:
    text = 'namespace: api\nredis: {host: cache, keepalive: false}\ntypes: {"*": {tiers: [memory, redis]}}'
    whole = load(tmp_path, text).value
    part = load_config(CacheConfig, tmp_path / "stoker.yaml", {}).value
    assert (part.namespace, part.redis, part.types) == (whole.namespace, whole.redis, whole.types)
