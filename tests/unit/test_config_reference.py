"""What is generated from the models (JSON Schema, reference page) is current, and the example is right."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from stoker.core.settings.config import load_config
from stoker.core.settings.fields import Kind, leaves
from stoker.schedules.check import check
from stoker.worker.config import StokerConfig, config_schema
from stoker.worker.reference import PAGE, SCHEMA, duration, renew, schema_text
from tests.configuring import load, problems

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = ROOT / "docs" / "stoker.example.yaml"
RENEW = "run `python -m stoker.worker.reference`"


def valid(text: str) -> bool:
    return jsonschema.Draft202012Validator(config_schema()).is_valid(yaml.safe_load(text) or {})


def test_the_schema_is_current() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == schema_text(), RENEW


def test_the_page_is_current() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert page == renew(page), RENEW


def test_the_page_names_every_field_once() -> None:
    page = PAGE.read_text(encoding="utf-8")

    named = re.findall(r"^\| `([^`]+)` \| [^|]+ \| [^|]+ \| [^|]+ \|$", page, re.MULTILINE)
    assert len(named) == len(set(named))
    assert {"prefix", "redis.url", "types.<type>.warm.mode", "up.processes.<name>.command"} <= set(named)


def test_the_page_opens_with_its_summary() -> None:
    title, blank, *summary = PAGE.read_text(encoding="utf-8").splitlines()[:5]

    assert (title, blank) == ("# Configuration", "")
    assert all(line and not line.startswith("#") for line in summary)


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(config_schema())


def test_every_field_is_described() -> None:
    def fields(node: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(node, dict):
            yield from node.get("properties", {}).items() if isinstance(node.get("properties"), dict) else ()
            for part in node.values():
                yield from fields(part)

    definitions = config_schema()["$defs"]
    for name, field in fields(definitions):
        assert field.get("description"), name


def test_the_example_is_right() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    config = load_config(StokerConfig, EXAMPLE, {}).value

    assert valid(text)
    assert not check(config)


def test_the_example_shows_every_field() -> None:
    loaded = load_config(StokerConfig, EXAMPLE, {})

    given = {name for name, origin in loaded.origins.items() if origin.kind == "file"}
    free = re.compile(r"^(types|schedule|up\.processes)\.[^.]+\.")
    shown = {free.sub(r"\1.*.", name) for name in given}
    wanted = {
        free.sub(r"\1.*.", ".".join(map(str, path)))
        for path, _ in leaves(Kind(StokerConfig), loaded.value.model_dump())
    }
    assert {name for name in wanted if not any(f"{one}.".startswith(f"{name}.") for one in shown)} == set()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "types: {product: {ttl: 5m, stale: 2h 30m, max_entry: 16MiB, compress_above: 512}}",
        "types: {product: }",
        "types:\nredis:\nschedule:\n",
        "schedule: {warm: {enabled: false}}",
        "schedule: {a: {task: warm, every: 1s, options: {type: product, anything: [1]}}}",
        "worker: {listen: null}",
        "up: {processes: {shop: {command: serve}}}",
        "default_ttl: 0.5",
    ],
)
def test_the_schema_allows_what_the_reader_reads(tmp_path: Path, text: str) -> None:
    load(tmp_path, text)

    assert valid(text)


@pytest.mark.parametrize(
    "text",
    [
        "prefx: a",
        "prefix: a b",
        "types: {Product: {ttl: 1s}}",
        "types: {product: {ttl: soon}}",
        "types: {product: {ttl: -1}}",
        "types: {product: {ttl: 0}}",
        "types: {product: {max_entry: 1 furlong}}",
        "types: {product: {warm: {keys: 0}}}",
        "types: {product: {kind: derivd}}",
        "redis: {url: 'http://h'}",
        "beat: {lease: 0.5}",
        "schedule: {a: {every: 1s}}",
        "up: {processes: {shop: {cwd: x}}}",
        "logs: {level: loud}",
        "loaders: a.b",
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(tmp_path: Path, text: str) -> None:
    problems(tmp_path, text)

    assert not valid(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (1, "1s"),
        (90, "90s"),
        (300, "5m"),
        (7200, "2h"),
        (86400, "1d"),
        (1.5, "1.5s"),
    ],
)
def test_lengths_of_time_as_a_file_would_have_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_schema_is_json() -> None:
    assert json.loads(schema_text())["title"] == "stoker.yaml"
