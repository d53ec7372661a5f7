"""Reading YAML: every form of broken file is told with its line, and none does harm."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from stoker.core.errors import ConfigError
from stoker.core.settings.document import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_VALUES,
    parse_document,
    parse_value,
    plain_value,
    read_document,
)
from tests.configuring import load, problems


def test_values_and_the_line_of_each() -> None:
    document = parse_document(b"# top\na: 1\nb:\n  c: [x, y]\n  'd e': '3'\n", "f.yaml")

    assert document.data == {"a": 1, "b": {"c": ["x", "y"], "d e": "3"}}
    assert document.lines == {
        ("a",): 2,
        ("b",): 3,
        ("b", "c"): 4,
        ("b", "c", 0): 4,
        ("b", "c", 1): 4,
        ("b", "d e"): 5,
    }
    assert not document.problems


@pytest.mark.parametrize(
    "empty", [b"", b"\n\n", b"# only a comment\n", b"\xef\xbb\xbf", b"---\n", b"~\n", b"{}"]
)
def test_an_empty_file_says_nothing(empty: bytes) -> None:
    assert parse_document(empty, "f.yaml").data == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("12", 12),
        ("-3", -3),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        (".inf", float("inf")),
        ("-.inf", float("-inf")),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("1e999", "1e999"),
        ("1_000", "1_000"),
        ("=", "="),
        ("<<", "<<"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(text: str, value: Any) -> None:
    found = plain_value(text)

    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_read_as_that() -> None:
    assert str(plain_value(".nan")) == "nan"


def test_quoted_scalars_are_texts() -> None:
    assert parse_document(b"a: '1'\nb: \"true\"\nc: ''\n", "f").data == {"a": "1", "b": "true", "c": ""}


def test_names_are_texts_whatever_they_look_like() -> None:
    assert parse_document(b"1: a\ntrue: b\nnull: c\n", "f").data == {"1": "a", "true": "b", "null": "c"}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"a:\n\tb: 1\n", "f.yaml:2: not YAML"),
        (b"a:\n  b: 1\n c: 2\n", "f.yaml:3: not YAML"),
        (b"a: 'x\n", "not YAML: while scanning a quoted scalar"),
        (b"a: [1, 2\nb: 3\n", "not YAML"),
        (b"a: @x\n", "f.yaml:1: not YAML"),
        (b"a: b: c\n", "f.yaml:1: not YAML"),
        (b"%YAML 9.0\n---\na: b\n", "f.yaml:1: not YAML"),
        (b"- 1\n- 2\n", "f.yaml:1: a list, where `field: value` lines are needed"),
        (b"just text\n", "f.yaml:1: a single value, where"),
        (b"a: 1\n---\nb: 2\n", "f.yaml:2: a second document"),
        (b"a: 1\n...\nb: 2\n", "f.yaml:3: not YAML"),
        (b"x: 1\n? [a, b]\n: c\n", "f.yaml:2: a field's name must be a plain text"),
        (b"x: 1\n? {a: b}\n: c\n", "f.yaml:2: a field's name must be a plain text"),
        (b"a: \x00\n", "f.yaml:1: a control character (U+0000)"),
        (b"a: 1\nb: \x1b[31m\n", "f.yaml:2: a control character (U+001B)"),
        (b"\x7fELF\x02\x01\x01\x00", "f.yaml:1: a control character"),
        (b"a: 1\nb: \xe9\n", "f.yaml:2: not UTF-8 text (byte 0xe9)"),
        ("a: 1\n".encode("utf-16"), "f.yaml:1: not UTF-8 text (byte 0xff)"),
        (b"\x89PNG\r\n\x1a\n", "f.yaml:1: not UTF-8 text (byte 0x89)"),
    ],
)
def test_a_broken_file_is_told_with_its_line(raw: bytes, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_document(raw, "f.yaml")

    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_tab_gets_a_hint(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, "redis:\n\turl: redis://h\n")

    assert line.startswith("stoker.yaml:2: not YAML")
    assert "indent with spaces, not with tabs" in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prefix: a\nprefix: b\n", "stoker.yaml:2: prefix: given twice; the first one is on line 1"),
        (
            "types:\n  a:\n    ttl: 1s\n    stale: 1s\n    ttl: 2s\n",
            "stoker.yaml:5: types.a.ttl: given twice; the first one is on line 3",
        ),
        (
            "redis: {url: 'redis://h', url: 'redis://h'}",
            "stoker.yaml:1: redis.url: given twice; the first one is on line 1",
        ),
        (
            "prefix: !!str a\n",
            "stoker.yaml:1: prefix: a tag (tag:yaml.org,2002:str) is not read: leave it out",
        ),
        (
            "prefix: !!python/object/apply:os.system ['true']\n",
            (
                "stoker.yaml:1: prefix: a tag (tag:yaml.org,2002:python/object/apply:os.system) is not read: "
                "leave it out"
            ),
        ),
        (
            "types: !!set {a, b}\n",
            "stoker.yaml:1: types: a tag (tag:yaml.org,2002:set) is not read: leave it out",
        ),
        ("prefix: &p a\nredis: *p\n", "stoker.yaml:2: redis: an alias (*p) is not read: write the value out"),
    ],
)
def test_what_the_reader_refuses(tmp_path: Path, text: str, said: str) -> None:
    assert said in problems(tmp_path, text)


def test_billion_laughs_are_not_laughed(tmp_path: Path) -> None:
    # Written out, this document would have 9**29 values.
    lines = ['a0: &a0 ["lol", "lol"]']
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]

    said = problems(tmp_path, "\n".join(lines))

    assert any("an alias (*a0) is not read" in line for line in said)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting_ends_in_an_error(opening: str) -> None:
    with pytest.raises(ConfigError, match=f"nested deeper than {MAX_DEPTH} levels|not YAML"):
        parse_document(b"a:\n " + opening.encode() * 100_000, "f.yaml")


def test_nesting_up_to_the_limit_is_read() -> None:
    depth = MAX_DEPTH - 1
    assert parse_document(b"a: " + b"[" * depth + b"]" * depth, "f").data["a"]


def test_a_file_that_is_too_long(tmp_path: Path) -> None:
    assert problems(tmp_path, b"#" * (MAX_BYTES + 1)) == [
        "stoker.yaml: longer than 1024 KiB, which no configuration is"
    ]
    assert load(tmp_path, b"#" * MAX_BYTES).value.prefix == "stoker"


@pytest.mark.parametrize("text", ["a: 1\n", "- 1\n", "? 1\n", "a: [1, 2]\n"])
def test_a_file_of_too_many_values(text: str) -> None:
    raw = f"x:\n{text * MAX_VALUES}".replace("\n", "\n  ").encode()

    with pytest.raises(ConfigError, match=f"more than {MAX_VALUES} values, which no configuration has"):
        parse_document(raw, "f.yaml")


def test_an_endless_file_is_left_in_time() -> None:
    with pytest.raises(ConfigError, match="longer than"):
        read_document(Path("/dev/zero"))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: can't be read: No such file"):
        read_document(tmp_path / "none.yaml")


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        read_document(tmp_path)


def test_a_path_that_no_system_has() -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        read_document(Path("a\0b"))


def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "stoker.yaml"
    path.touch(mode=0o000)
    user = os.geteuid()
    if user == 0:  # the superuser may read everything
        os.seteuid(65534)
    try:
        with pytest.raises(ConfigError, match="can't be read: Permission denied"):
            read_document(path)
    finally:
        os.seteuid(user)


def test_a_link_that_leads_in_a_circle(tmp_path: Path) -> None:
    path = tmp_path / "stoker.yaml"
    path.symlink_to(path)

    with pytest.raises(ConfigError, match="can't be read"):
        read_document(path)


def test_a_single_value() -> None:
    assert parse_value("{a: [1, x]}", "V") == {"a": [1, "x"]}
    assert parse_value('{"a": null}', "V") == {"a": None}


@pytest.mark.parametrize("text", ["{a", "*x", "!!str a", "a: 1\nb: 2\n---\n", "]", "{a: 1, a: 2}"])
def test_what_is_no_single_value(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_value(text, "V")
