"""No password is ever shown: not by `config show`, not in an error, not in a repr."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stoker.core import MemoryCache
from stoker.core.errors import ConfigError, UsageError
from stoker.core.settings.config import CacheConfig, RedisConfig, describe
from stoker.core.settings.redaction import is_secret_name, redact, redact_url
from stoker.worker.config import BrokerConfig, StokerConfig
from tests.configuring import load, write

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://u:{SECRET}@h:1/0", "redis://u:***@h:1/0"),
        (f"redis://:{SECRET}@h", "redis://:***@h"),
        (f"redis://u:a@b{SECRET}@h", "redis://u:***@h"),
        (f"redis://u:a/b{SECRET}@h", "redis://u:***@h"),
        (f"redis://u:a?b#c{SECRET}@h", "redis://u:***@h"),
        (f"redis://h/0?password={SECRET}&db=1", "redis://h/0?password=***&db=1"),
        (f"redis://h/0?db=1&ssl_keyfile_password={SECRET}", "redis://h/0?db=1&ssl_keyfile_password=***"),
        (f"amqp://a:{SECRET}@h1//;amqp://b:{SECRET}@h2//", "amqp://a:***@h1//;amqp://b:***@h2//"),
        (f"https://h/p?api_key={SECRET}", "https://h/p?api_key=***"),
        (f":{SECRET}@h:6379", "***@h:6379"),
        (f"u:{SECRET}@h", "***@h"),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://user@h:6379/0", "redis://user@h:6379/0"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("127.0.0.1:9540", "127.0.0.1:9540"),
        ("", ""),
    ],
)
def test_urls_are_shown_without_their_passwords(url: str, shown: str) -> None:
    assert redact_url(url) == shown
    assert redact_url(shown) == shown


@pytest.mark.parametrize(
    "name", ["password", "PASSWORD", "db_password", "secret", "api_key", "auth_token", "passwd"]
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)
    assert redact(name, SECRET) == "***"


@pytest.mark.parametrize("name", ["ttl", "keys", "max_tokens", "author", "url", "command", "prefix", "type"])
def test_names_of_other_things(name: str) -> None:
    assert not is_secret_name(name)


def test_secrets_within_other_values() -> None:
    value = {
        "a": [{"password": SECRET}, f"redis://:{SECRET}@h"],
        "run": f"x --password={SECRET} --token {SECRET} -v",
    }

    assert redact("options", value) == {
        "a": [{"password": "***"}, "redis://:***@h"],
        "run": "x --password=*** --token *** -v",
    }


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (f"env API_KEY={SECRET} program", "env API_KEY=*** program"),
        (f"env DB=x PGPASSWORD={SECRET} TTL=5 p", "env DB=x PGPASSWORD=*** TTL=5 p"),
        (f"env 'API_KEY=a {SECRET}' p", "env 'API_KEY=***' p"),
        (f"env API_KEY='a {SECRET}' p", "env API_KEY=*** p"),
        (f'env API_KEY="a {SECRET}"b p', "env API_KEY=*** p"),
        (rf"env API_KEY=a\ {SECRET} p", "env API_KEY=*** p"),
        (f"sh -c 'AUTH_TOKEN={SECRET} p'", "sh -c 'AUTH_TOKEN=***'"),
        (
            f"run -e API_KEY={SECRET} --env=MY_SECRET={SECRET} p",
            "run -e API_KEY=*** --env=MY_SECRET=*** p",
        ),
        (f"p --api-key {SECRET} --password 'a {SECRET}'", "p --api-key *** --password ***"),
        (f"p https://h/x?api_key={SECRET}&page=2", "p https://h/x?api_key=***&page=2"),
    ],
)
def test_secrets_in_command_lines(command: str, shown: str) -> None:
    assert redact("command", command) == shown


@pytest.mark.parametrize(
    "text", ["auth", "&auth", "--token", "?password", "redis://@", ";@:", "auth=", "'auth=", 'auth"=']
)
def test_texts_made_to_take_long_are_hidden(text: str) -> None:
    long = f"redis://h?{text * 100_000}"

    assert redact_url(long) == redact("command", long) == "***"
    assert redact_url(long[:4000])
    assert redact("command", long[:4000])


TEXT = f"""\
redis: {{url: 'redis://user:{SECRET}@cache:6379/0'}}
broker: {{url: 'amqp://user:{SECRET}@rabbit//'}}
schedule:
  drop: {{task: invalidate, every: 1h, options: {{api_key: {SECRET}, at: 'http://u:{SECRET}@h'}}}}
up:
  processes:
    shop: {{command: 'serve --token {SECRET} --db postgres://u:{SECRET}@db/x'}}
"""


def test_config_show_hides_them(tmp_path: Path) -> None:
    loaded = load(tmp_path, TEXT, {"STOKER_SCHEDULE__DROP__OPTIONS__PASSWORD": SECRET})

    shown = {setting.field: setting.value for setting in describe(loaded)}

    assert SECRET not in str(describe(loaded))
    assert shown["redis.url"] == "redis://user:***@cache:6379/0"
    assert shown["broker.url"] == "amqp://user:***@rabbit//"
    assert shown["schedule.drop.options.password"] == "***"
    assert shown["up.processes.shop.command"] == "serve --token *** --db postgres://u:***@db/x"
    assert loaded.value.redis.url == f"redis://user:{SECRET}@cache:6379/0"


def test_no_repr_holds_them(tmp_path: Path) -> None:
    loaded = load(tmp_path, TEXT)

    assert SECRET not in f"{loaded!r} {loaded.value!s} {loaded.value.redis!r} {loaded.value.broker}"


@pytest.mark.parametrize(
    "url",
    [
        f"http://u:{SECRET}@h",
        f"redis://u:{SECRET}@h:abc",
        f"redis://u:{SECRET}@h/x",
        f"redis://u:{SECRET}@",
        f"redis://u:{SECRET}/@h",
        f"redis://u:#{SECRET}@h",
        f"redis://u:?{SECRET}@h",
        f"redis://u:{SECRET} @h",
        f"redis://h/0?password={SECRET}&nope=1",
        f"u:{SECRET}@h",
        f":{SECRET}@h:6379",
    ],
)
def test_no_error_holds_them(tmp_path: Path, url: str) -> None:
    for text, environ in (
        (f'redis: {{url: "{url}"}}\nbroker: {{url: "{url}"}}\n', {}),
        ("", {"REDIS_URL": url, "STOKER_BROKER__URL": url}),
        ("", {"STOKER_REDIS": f"{{url: '{url}', password: {SECRET}}}", "STOKER_REDIS_URL": url}),
        (f'redis: "{url}"\nlogs: "{url}"\ntypes: {{a: {{ttl: "{url}"}}}}\n', {}),
    ):
        with pytest.raises(ConfigError) as caught:
            load(tmp_path, text, environ)
        assert SECRET not in str(caught.value)
    for model in (RedisConfig, BrokerConfig):
        with pytest.raises(ValidationError) as invalid:
            model(url=url)
        assert SECRET not in str(invalid.value)
    for root in (CacheConfig, StokerConfig):
        with pytest.raises(ValidationError) as invalid:
            root.model_validate({"redis": {"url": url}})
        assert SECRET not in str(invalid.value)


@pytest.mark.parametrize(
    ("arguments", "kinds"),
    [
        ({"url": f"redis://u:{SECRET}@h:1/x"}, {("redis", "url"): "value_error"}),
        ({"redis": {"url": f"redis://u:{SECRET}@h/x"}}, {("redis", "url"): "value_error"}),
        ({"redis_password": SECRET, "redis_port": "x"}, {("redis", "port"): "int_parsing"}),
        ({"redis_password": [SECRET]}, {("redis", "password"): "string_type"}),
        ({"redis": f"redis://u:{SECRET}@h"}, {("redis",): "model_type"}),
        ({"redis_password": SECRET, "types": 5}, {("types",): "dict_type"}),
        ({"redis": {"passwd": SECRET, "port": 0}},
         {("redis", "port"): "greater_than_equal", ("redis", "passwd"): "extra_forbidden"}),
        ({"url": f"redis://:{SECRET}@h", "redis_url": f"redis://:{SECRET}x@h"}, {(): "value_error"}),
    ],
)  # fmt: skip
def test_errors_hold_nothing_that_was_given(
    arguments: dict[str, Any], kinds: dict[tuple[str, ...], str]
) -> None:
    for model in (CacheConfig, StokerConfig):
        with pytest.raises(ValidationError) as caught:
            model(**arguments)
        error = caught.value
        assert {told["loc"]: told["type"] for told in error.errors()} == kinds
        assert SECRET not in f"{error!r} {error.errors()} {error.json()}"
    with pytest.raises(UsageError) as refused:
        MemoryCache(**arguments)
    assert SECRET not in "".join(traceback.format_exception(refused.value))
    invalid = refused.value.__context__
    assert isinstance(invalid, ValidationError)
    assert SECRET not in str(invalid.errors())


def test_a_broken_command_is_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"up: {{processes: {{a: {{command: 'serve --token {SECRET} \"'}}}}}}")
    assert SECRET not in str(caught.value)


def test_a_broken_file_is_not_quoted(tmp_path: Path) -> None:
    path = write(tmp_path, f"redis:\n  password: '{SECRET}\n")

    with pytest.raises(ConfigError) as caught:
        load(tmp_path, path.read_text(encoding="utf-8"))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"redis_password": SECRET},
        {"redis_password": SECRET, "redis_host": "cache", "redis_username": "me"},
        {"redis_password": SECRET, "url": "redis://me:other@cache:1/2?password=x"},
        {"redis_password": SECRET, "url": "redis+sentinel://a:1,b:2/mymaster/0"},
        {"redis": {"password": SECRET}},
    ],
)
def test_a_dump_shows_no_password_that_was_given_as_one_and_makes_the_same_configuration(
    arguments: dict[str, Any],
) -> None:
    config = CacheConfig(**arguments)
    assert SECRET in config.redis.url
    assert SECRET not in repr(config.model_dump())
    assert SECRET not in config.model_dump_json()
    assert CacheConfig.model_validate(config.model_dump()).redis.url == config.redis.url
    elsewhere = config.redis.model_copy(update={"url": "redis://elsewhere:1/0"})
    assert elsewhere.model_dump()["url"] == "redis://elsewhere:1/0"


def test_a_url_s_own_password_stays_in_what_programs_read_and_out_of_json() -> None:
    config = CacheConfig(url=f"redis://me:{SECRET}@cache:1/2")
    assert config.model_dump()["redis"]["url"] == config.redis.url
    assert SECRET not in config.model_dump_json()
    assert "redis://me:***@cache:1/2" in config.model_dump_json()
