"""The pages for those who come from an older cache: what is ours runs, and what shows it is there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stoker.core import CacheConfig, CacheManager, ResponseCache, load_config
from stoker.core.settings.config import RedisConfig
from stoker.core.stores import Store
from tests.managers import PATIENT
from tests.pages import DOCS, ROOT, table
from tests.servers import RedisServer
from tests.stand_ins import stand_ins

PAGES = sorted(path for path in (DOCS / "migrating").glob("*.md") if path.name != "index.md")
INDEX = DOCS / "migrating" / "index.md"


@pytest.fixture
def patient() -> Iterator[None]:
    """Pages say nothing of timeouts: longer by default, so that a loaded machine turns no hit into a miss."""
    fields = [RedisConfig.model_fields[name] for name in PATIENT]
    defaults = [field.default for field in fields]

    def let_be(values: Iterable[Any]) -> None:
        for field, value in zip(fields, values, strict=True):
            field.default = value
        RedisConfig.model_rebuild(force=True)
        CacheConfig.model_rebuild(force=True)

    let_be(PATIENT.values())
    yield
    let_be(defaults)


@pytest.fixture
def at_home(
    own_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, patient: None
) -> RedisServer:
    """A server that the environment names, as in a deployment; no configuration file."""
    monkeypatch.setenv("REDIS_URL", own_redis_server.url)
    monkeypatch.chdir(tmp_path)
    return own_redis_server


def fences(page: Path) -> list[tuple[str, str]]:
    """The fenced blocks of a page: (language, text)."""
    return re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def source_of(page: Path) -> str:
    """The blocks that are ours as the body of a function, each on the page's own lines."""
    lines, inside = ["async def page(url, server):"], False
    for line in page.read_text(encoding="utf-8").splitlines()[1:]:
        if line.startswith("```"):
            inside = not inside and line == "```python"
            lines.append("")
        else:
            lines.append("    " + line if inside else "")
    return "\n".join([*lines, "    return locals()", ""])


async def run_page(page: Path, server: RedisServer) -> None:
    """Run a page's blocks, one after the other, and close what they leave open."""
    scope: dict[str, Any] = {"__name__": "documented", **stand_ins()}
    exec(compile(source_of(page), str(page), "exec", dont_inherit=True), scope)
    client = server.client()
    try:
        values = await scope["page"](server.url, client)
    finally:
        client.close()
    for value in values.values():
        if isinstance(value, CacheManager | Store | ResponseCache):
            await value.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
async def test_our_blocks_run(page: Path, at_home: RedisServer) -> None:
    await run_page(page, at_home)


async def test_the_index_runs(at_home: RedisServer) -> None:
    await run_page(INDEX, at_home)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_of_their_blocks_has_ours_beside_it(page: Path) -> None:
    languages = [language for language, _ in fences(page) if language in {"py", "python"}]

    assert languages.count("py") >= 3
    for number, language in enumerate(languages):
        if language == "py":
            assert languages[number + 1 : number + 2] == ["python"], f"block {number} has no counterpart"


def rows(page: Path, first: str = "feature") -> list[list[str]]:
    return table(page.read_text(encoding="utf-8"), first)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_feature_has_its_place(page: Path) -> None:
    found = rows(page)

    assert len(found) > 10
    for row in found:
        assert len(row) == 4, row
        assert all(row), f"{page.name}: {row[0]}: a cell is empty"


@pytest.mark.parametrize("page", [*PAGES, INDEX], ids=lambda page: page.stem)
def test_what_shows_a_feature_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    references = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+)(?:::(\w+))?)?`", text)
    assert references or page == INDEX

    for file, *names in references:
        path = ROOT / file
        assert path.exists(), f"{page.name}: {file}"
        for name in filter(None, names):
            assert re.search(rf"^(?:\s*async def|\s*def|class) {name}\b", path.read_text(), re.MULTILINE), (
                f"{page.name}: {file} has no {name}"
            )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tick_says_which_test_shows_it(page: Path) -> None:
    for row in rows(page):
        assert ("✔" in row[3]) == ("`tests/" in row[3]), f"{page.name}: {row[0]}"


def test_each_system_has_a_page_that_the_index_names() -> None:
    text = INDEX.read_text(encoding="utf-8")

    assert len(PAGES) == 5
    for page in PAGES:
        assert f"]({page.name})" in text


def test_what_is_easily_missed_has_its_place() -> None:
    found = rows(INDEX, "easily missed")

    assert len(found) >= 40
    for row in found:
        assert all(row), row


async def test_pages_run_patiently(at_home: RedisServer) -> None:
    configs = CacheConfig(redis_url=at_home.url), load_config(CacheConfig).value
    assert {config.redis.timeout for config in configs} == {PATIENT["timeout"]}
