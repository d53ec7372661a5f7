"""Pages are in form, their links lead somewhere, and their commands and examples are right."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from stoker.core.entries.codec import decode_value
from stoker.core.entries.entry import COMPRESSIONS, HEADER_BYTES, SERIALIZERS, Entry, pack_entry, unpack_entry
from stoker.core.events import parse_event
from stoker.core.keys import Keys
from stoker.core.log.position import parse_position
from stoker.core.log.scopes import Everything, Key, Pattern, Tag, Type, to_field
from stoker.core.settings.config import load_config
from stoker.schedules.check import check
from stoker.worker.config import StokerConfig
from tests.conftest import has_stated_bound
from tests.deployment import parse_command
from tests.pages import OTHERS, ROOT, blocks, commands, example, pages, table, text_of

_FILE = re.compile(
    r"`((?:core|worker|tasks|schedules|deploy|docs|examples|tests|scripts|requirements)/[\w./-]+)`"
)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_each_page_opens_with_a_summary(page: Path) -> None:
    title, blank, *rest = page.read_text(encoding="utf-8").splitlines()
    summary = rest[: rest.index("")]

    assert re.fullmatch(r"# \S.*", title)
    assert not blank
    assert 2 <= len(summary) <= 3, "up to three lines that say what the page is about"
    assert not any(line.startswith(("#", "|", "- ", "```")) for line in summary)
    assert summary[-1].endswith(".")


@pytest.mark.parametrize("page", [*pages(), *(ROOT / name for name in OTHERS)], ids=lambda page: page.name)
def test_links_and_files_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"
    for name in _FILE.findall(text):
        assert (ROOT / name).exists(), f"{page.name}: {name}"


@pytest.mark.parametrize(("page", "line"), commands("stoker"))
def test_commands_are_commands(page: str, line: str) -> None:
    parse_command(shlex.split(line)[1:])


@pytest.mark.parametrize(("page", "line"), commands("redis-cli"))
def test_published_events_can_be_read(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    keys = Keys()

    assert words[1] in {keys.events, keys.log, keys.dead_events}
    if words[:2] == ["XADD", keys.events]:
        assert words[2:4] == ["MAXLEN", "~"]
        assert words[5:7] == ["*", "d"]
        assert parse_event(words[7].encode()).scopes
    if words[:2] == ["XADD", keys.log]:
        assert words[2:4] == ["NOMKSTREAM", "*"]


def test_events_as_json_can_be_read() -> None:
    for page in pages():
        for block in blocks(page.read_text(encoding="utf-8"), "json"):
            assert len(parse_event(json.dumps(json.loads(block)).encode()).scopes) == 2


def test_pieces_of_configuration_are_right(tmp_path: Path) -> None:
    for page in pages():
        for number, block in enumerate(blocks(page.read_text(encoding="utf-8"), "yaml")):
            given = yaml.safe_load(block)
            if "schedule" in given:
                given.setdefault("types", {})["product"] = {}
            file = tmp_path / f"{page.stem}-{number}.yaml"
            file.write_text(yaml.safe_dump(given))
            config = load_config(StokerConfig, file, {}).value
            assert not check(config), f"{page.name}: {block}"


def test_the_alerts_table_names_the_alerts() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules" / "alerts.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}

    assert {row[0].strip("`") for row in table(text_of("operations.md"), "alert")} == alerts


def test_the_entry_is_as_the_page_says() -> None:
    page = text_of("wire-format.md")
    stored = bytes.fromhex("".join(example(page, "entry").split()))
    entry = unpack_entry(stored)

    assert entry == Entry(
        epoch=1,
        born=parse_position("1700000000000-5"),
        created_ms=1_700_000_000_001,
        fresh_until_ms=1_700_000_060_000,
        flags=0,
        tags=(b"drink",),
        payload=b"\xa3tea",
    )
    assert decode_value(entry, str, 100) == "tea"
    assert pack_entry(entry) == stored


def test_the_offsets_add_up() -> None:
    rows = table(text_of("wire-format.md"), "offset")
    fixed = [(int(offset), int(size)) for offset, size, _ in rows if offset.isdigit() and size.isdigit()]

    assert [offset for offset, _ in fixed] == [sum(size for _, size in fixed[:n]) for n in range(len(fixed))]
    assert sum(size for _, size in fixed) == HEADER_BYTES == int(rows[len(fixed)][0])


def test_the_flags_are_as_the_page_says() -> None:
    values = {bits: value for bits, value, _ in table(text_of("wire-format.md"), "flag bits")}

    assert values["0 and 1"] == ", ".join(map(str, range(len(SERIALIZERS))))
    assert values["2 and 3"] == ", ".join(map(str, range(len(COMPRESSIONS))))
    assert (SERIALIZERS, COMPRESSIONS) == (("msgpack", "json"), ("none", "zstd", "zlib"))


def test_the_fields_of_a_record_are_as_the_page_says() -> None:
    rows = {row[0].strip("`"): row[1].strip("`") for row in table(text_of("wire-format.md"), "field")}

    for scope in (Key("t", "k"), Tag("t"), Type("t"), Pattern("t", "*"), Everything()):
        field, value = to_field(scope)
        shape = (
            rows[field]
            .replace("<type>", "t")
            .replace("<key>", "k")
            .replace("<tag>", "t")
            .replace("<glob>", "*")
        )
        assert shape == value


def documented_keys() -> dict[str, str]:
    """Each key of docs/wire-format.md as a pattern, with its bound."""
    rows = table(text_of("wire-format.md"), "key")
    return {row[0].strip("`"): row[3] for row in rows}


def is_documented(key: str) -> str | None:
    """The bound of a key below the prefix `p`; None where the page doesn't name it."""
    best: tuple[int, str] | None = None
    for shape, bound in documented_keys().items():
        pattern = re.escape(shape.replace("<prefix>", "p")).replace("…", ".*")
        if re.fullmatch(re.sub(r"<\w+>", ".+", pattern), key) and (best is None or len(shape) > best[0]):
            best = (len(shape), bound)
    return best[1] if best else None


def keys_of_the_code() -> dict[str, str]:
    """Every name that `Keys` builds, by the member that builds it; patterns for SCAN and parsers aside."""
    keys, made = Keys("p"), dict[str, str]()
    for name, member in inspect.getmembers(Keys):
        if name.startswith("_") or name in {"prefix", "rates", "parse", "all_entries"}:
            continue
        if isinstance(member, property):
            made[name] = getattr(keys, name)
        elif inspect.isfunction(member):
            count = len(inspect.signature(member).parameters) - 1
            made[name] = getattr(keys, name)(*["a7"] * count)
    return made


def test_every_key_is_on_the_page() -> None:
    made = keys_of_the_code()

    assert len(made) > 15
    assert not {name: key for name, key in made.items() if is_documented(key) is None}


def test_bounds_on_the_page_are_those_that_tests_hold_keys_to() -> None:
    for name, key in keys_of_the_code().items():
        bound = is_documented(key) or ""
        assert has_stated_bound("p", key) != ("TTL" in bound), f"{name}: {key}: {bound}"
    assert has_stated_bound("p", "p:celery:anything")
    assert is_documented("p:celery:anything") == "Celery's own"
    assert is_documented("p:nothing") is None


def test_the_changelog_has_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert "## [Unreleased]" in text
    sections = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert sections <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
