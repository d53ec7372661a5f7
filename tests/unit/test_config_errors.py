"""What is said of a file that can't be used: all of it, with line, field and the values allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stoker.core.settings.config import CacheConfig
from stoker.core.settings.problems import MOST_TOLD
from tests.configuring import load, load_cache, problems


def test_all_problems_at_once(tmp_path: Path) -> None:
    text = """\
        prefx: shop
        redis:
          url: http://cache
          timeout: true
          max_connections: -1
        types:
          product:
            ttl: -60s
            serializer: jsn
            warm: {kyes: 10}
          other: 3
        logs: {level: loud}
        """

    said = problems(tmp_path, text, {"CACHE_TTL_DB": "soon", "STOKER_PREFX": "x"})

    starts = [
        "stoker.yaml:1: prefx: no such field; did you mean prefix? There are prefix, namespace, redis, ",
        "stoker.yaml:3: redis.url: 'http://cache' is no URL of a kind that is known here: redis://, ",
        "stoker.yaml:4: redis.timeout: true is not allowed: give seconds, or a text like 250ms, ",
        "stoker.yaml:5: redis.max_connections: -1 is not allowed: give a whole number from 1 up to 10000",
        "stoker.yaml:8: types.product.ttl: '-60s' is not allowed: give seconds, or a text like 250ms, ",
        "stoker.yaml:9: types.product.serializer: 'jsn' is not allowed: give msgpack or json",
        "stoker.yaml:10: types.product.warm.kyes: no such field; did you mean keys? There are mode, keys, ",
        "stoker.yaml:11: types.other: 3 is not allowed: give the fields ttl, jitter, ",
        "stoker.yaml:12: logs.level: 'loud' is not allowed: give debug, info, warning or error",
        "environment variable STOKER_PREFX: names no field of the configuration; did you mean STOKER_PREFIX?",
        "environment variable CACHE_TTL_DB: types.db_query.ttl: 'soon' is not allowed: give seconds, ",
    ]
    assert len(said) == len(starts)
    for line, start in zip(said, starts, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    ("text", "field", "suggestion"),
    [
        ("prefixes: x", "prefixes", "prefix"),
        ("Redis: {}", "Redis", "redis"),
        ("schedul: {}", "schedul", "schedule"),
        ("redis: {uri: 'redis://h'}", "redis.uri", "url"),
        ("types: {a: {tll: 1s}}", "types.a.tll", "ttl"),
        ("types: {session: {Stale: 1s}}", "types.session.Stale", "stale"),
        ("types: {a: {warm: {key: 1}}}", "types.a.warm.key", "keys"),
        ("broker: {uri: x}", "broker.uri", "url"),
        ("worker: {concurency: 1}", "worker.concurency", "concurrency"),
        ("beat: {leases: 1s}", "beat.leases", "lease"),
        ("schedule: {a: {task: warm, every: 1s, expire: 1s}}", "schedule.a.expire", "expires"),
        ("schedule: {warm: {evry: 1s}}", "schedule.warm.evry", "every"),
        ("events: {batches: 1}", "events.batches", "batch"),
        ("metrics: {window: [1m]}", "metrics.window", "windows"),
        ("up: {process: {}}", "up.process", "processes"),
        ("up: {processes: {a: {command: x, dir: y, comand: z}}}", "up.processes.a.comand", "command"),
        ("logs: {levl: info}", "logs.levl", "level"),
    ],
)
def test_an_unknown_field_at_each_level(tmp_path: Path, text: str, field: str, suggestion: str) -> None:
    said = problems(tmp_path, f"# first line\n{text}\n")

    start = f"stoker.yaml:2: {field}: no such field; did you mean {suggestion}? There are "
    assert any(line.startswith(start) for line in said)


def test_a_service_is_told_of_a_misspelt_section_of_the_worker_too(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, "schedul: {}\n", model=CacheConfig)

    assert line.startswith("stoker.yaml:1: schedul: no such field; did you mean schedule? ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("types: {a: {ttl: 0}}", "types.a.ttl: 0 is not allowed"),
        ("types: {a: {ttl: -5}}", "types.a.ttl: -5 is not allowed"),
        ("types: {a: {ttl: .nan}}", "types.a.ttl: nan is not allowed"),
        ("types: {a: {ttl: .inf}}", "types.a.ttl: inf is not allowed"),
        ("types: {a: {ttl: 1e30}}", "types.a.ttl: 1e+30 is not allowed"),
        ("types: {a: {ttl: 100000d}}", "types.a.ttl: '100000d' is not allowed"),
        ("types: {a: {ttl: 5 minutes}}", "types.a.ttl: '5 minutes' is not allowed"),
        ("types: {a: {ttl: 1:30}}", "types.a.ttl: '1:30' is not allowed"),
        ("types: {a: {ttl: [1s]}}", "types.a.ttl: a list is not allowed"),
        ("types: {a: {ttl: {s: 1}}}", "types.a.ttl: a mapping is not allowed"),
        ("types: {a: {ttl: null}}", "types.a.ttl: null is not allowed"),
        ("types: {a: {ttl: false}}", "types.a.ttl: false is not allowed"),
        ("types: {a: {jitter: 0.6}}", "types.a.jitter: 0.6 is not allowed: give a number from 0 up to 0.5"),
        ("types: {a: {jitter: .nan}}", "types.a.jitter: nan is not allowed"),
        ("types: {a: {jitter: true}}", "types.a.jitter: true is not allowed"),
        (
            "types: {a: {max_entry: 1TB}}",
            "types.a.max_entry: '1TB' is not allowed: give bytes, or a text like 512KiB",
        ),
        ("types: {a: {max_entry: -1}}", "types.a.max_entry: -1 is not allowed"),
        (
            "types: {a: {warm: {keys: 1.5}}}",
            "types.a.warm.keys: 1.5 is not allowed: give a whole number from 1 up to 4000",
        ),
        ("types: {a: {warm: {keys: true}}}", "types.a.warm.keys: true is not allowed"),
        ("types: {a: {warm: reload}}", "types.a.warm: 'reload' is not allowed: give the fields mode, keys, "),
        ("types: {a: {warm: {mode: no}}}", "types.a.warm.mode: 'no' is not allowed: give reload or none"),
        (
            "types: {a: {kind: [derived]}}",
            "types.a.kind: a list is not allowed: give derived or authoritative",
        ),
        ("prefix: 5", "prefix: 5 is not allowed: give a text"),
        ("prefix: ''", "prefix: '' can't begin a key: use 1 to 64 characters, no spaces, no braces"),
        ("prefix: a b", "prefix: 'a b' can't begin a key"),
        ('prefix: "a\\tb"', "prefix: 'a\\tb' can't begin a key"),
        ("prefix: 'a{b}'", "prefix: 'a{b}' can't begin a key"),
        (f"prefix: {'x' * 65}", f"prefix: '{'x' * 65}' can't begin a key"),
        ("loaders: shop.loaders", "loaders: 'shop.loaders' is not allowed: give a list, each item a text"),
        ("loaders: [shop/loaders.py]", "loaders[0]: 'shop/loaders.py' is no module's name"),
        ("loaders: [5]", "loaders[0]: 5 is not allowed: give a text"),
        ("loaders: [a, '']", "loaders[1]: '' is no module's name"),
        ("loaders: [os; rm]", "loaders[0]: 'os; rm' is no module's name"),
        ("redis: redis://h", "redis: 'redis://h' is not allowed: give the fields url, host, port, "),
        ("redis: []", "redis: a list is not allowed: give the fields url, "),
        ("default_ttl: 0s", "default_ttl: '0s' is not allowed"),
    ],
)
def test_wrong_values(tmp_path: Path, text: str, said: str) -> None:
    (line,) = problems(tmp_path, f"\n{text}\n", model=CacheConfig)

    assert line.startswith(f"stoker.yaml:2: {said}")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "localhost:6379",
            "is no URL of a kind that is known here: redis://, rediss://, unix://, valkey://, valkeys://",
        ),
        ("http://h", "is no URL of a kind"),
        ("redis:/h", "is no URL of a kind"),
        ("redis://", "names no host"),
        ("redis://:6379/0", "names no host"),
        ("redis://h:0", "a port is 1 to 65535"),
        ("redis://h:99999", "is no URL: write redis://user:password@host:6379/0"),
        ("redis://h:abc", "is no URL: write"),
        ("redis://[::1/0", "is no URL: write"),
        ("redis://h/zero", "the database is a number, as in redis://host:6379/0"),
        ("redis://h/0?socket_timeout=9", "'socket_timeout' can't be set in a URL; client_name, db, "),
        ("redis://h/0?protocol=3", "'protocol' can't be set in a URL"),
        ("redis://h/0?decode_responses=true", "'decode_responses' can't be set in a URL"),
        ("redis://h/0#x", "in a password write / @ # ? as %2F %40 %23 %3F"),
        ("redis://h ost", "a URL has no spaces or control characters"),
        ("unix://var/run/redis.sock", "names no socket: write unix:///path/to/the.sock"),
    ],
)
def test_urls_that_no_client_could_use(tmp_path: Path, url: str, said: str) -> None:
    (line,) = problems(tmp_path, f"redis:\n  url: '{url}'\n", model=CacheConfig)

    assert line.startswith("stoker.yaml:2: redis.url: ")
    assert said in line


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("redis://h", "redis://h"),
        ("redis://h:1/15", "redis://h:1/15"),
        ("rediss://user:p%2Fw@cache.example:6380/1?ssl_cert_reqs=none", None),
        ("redis://:p@ss@h/0", None),
        ("redis://[::1]:6379", None),
        ("redis://stack_redis.1:6379", None),
        ("unix:///run/redis.sock?db=1", None),
        ("valkey://h:1/0", "redis://h:1/0"),
        ("valkeys://h:1/0", "rediss://h:1/0"),
        ("REDIS://h", "redis://h"),
    ],
)
def test_urls_that_are_read(tmp_path: Path, url: str, read: str | None) -> None:
    assert load_cache(tmp_path, f"redis: {{url: '{url}'}}").value.redis.url == (read or url)


def test_so_many_problems_that_they_are_counted(tmp_path: Path) -> None:
    said = problems(tmp_path, "".join(f"x{number}: 1\n" for number in range(100)))

    assert len(said) == MOST_TOLD + 1
    assert said[-1] == f"... and {100 - MOST_TOLD} more"


@pytest.mark.parametrize("name", ['"a\\nstoker.yaml:1: fake"', '"\\e[31mred"', '"\\u202Eabc"', '"\\0"'])
def test_a_message_stays_on_its_line_and_free_of_control_characters(tmp_path: Path, name: str) -> None:
    (line,) = problems(tmp_path, f"{name}: 1\n")

    assert line.startswith("stoker.yaml:1: ")
    assert line.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        f"types: {{a: {{ttl: {'9x' * 5000}}}}}",
        f"prefix: {'x' * 5000}",
        f"loaders: ['{'a/' * 5000}']",
        f"'{'x' * 500} {'y' * 500}': 1",
        f"up: {{processes: {{a: {{command: {'x' * 5000}}}}}}}",
        f"schedule: {{a: {{task: warm, cron: '{'x' * 5000}'}}}}",
    ],
)
def test_long_values_are_cut(tmp_path: Path, text: str) -> None:
    (line,) = problems(tmp_path, text)

    assert len(line) < 700


def test_every_line_of_the_file_has_its_origin(tmp_path: Path) -> None:
    text = """\
        prefix: shop
        types:
          product:
            ttl: 5m
            warm:
              keys: 9
        loaders:
          - a.b
        schedule:
          warm:
            every: 9s
        """

    loaded = load(tmp_path, text)

    found = {
        field: str(origin).rpartition("/")[2]
        for field, origin in loaded.origins.items()
        if origin.kind == "file"
    }
    assert found == {
        "prefix": "stoker.yaml:1",
        "types.product.ttl": "stoker.yaml:4",
        "types.product.warm.keys": "stoker.yaml:6",
        "loaders": "stoker.yaml:7",
        "schedule.warm.every": "stoker.yaml:11",
    }


def test_each_setting_has_an_origin(tmp_path: Path) -> None:
    loaded = load(tmp_path, "types: {product: }")

    def leaves(value: Any, path: str) -> list[str]:
        if not isinstance(value, dict) or not value:
            return [path]
        return [leaf for name, part in value.items() for leaf in leaves(part, f"{path}.{name}".strip("."))]

    assert sorted(loaded.origins) == sorted(leaves(loaded.value.model_dump(), ""))
