"""The examples run, show what they say, and leave nothing behind."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from examples.running import Report, run

from tests.pages import ROOT
from tests.servers import RedisServer

#: Each example, and how many claims it makes.
EXAMPLES = {"sessions": 6, "queries": 6, "speech": 6, "service": 6, "llm": 9}


def run_example(name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key != "REDIS_URL"}
    return subprocess.run(
        [sys.executable, "-m", f"examples.{name}"],
        cwd=ROOT,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_shows_what_it_says(name: str, redis_server: RedisServer) -> None:
    result = run_example(name, REDIS_URL=redis_server.url)

    assert result.returncode == 0, result.stdout + result.stderr
    assert not result.stderr
    assert len(re.findall(r"^  ✔ ", result.stdout, re.MULTILINE)) == EXAMPLES[name]
    assert "✘" not in result.stdout
    client = redis_server.client()
    assert not client.keys(f"example-{name}-*"), "its keys are gone"
    client.close()


def test_without_a_server_an_example_starts_one() -> None:
    result = run_example("sessions")

    assert result.returncode == 0, result.stdout + result.stderr


def test_without_any_server_it_says_what_to_do() -> None:
    result = run_example("sessions", STOKER_SERVER="/no/such/server")

    assert result.returncode == 2
    assert "redis-server" in result.stderr


def test_what_does_not_hold_is_seen_by_the_exit_code(
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    logger = logging.getLogger("stoker")
    request.addfinalizer(partial(logger.setLevel, logger.level))  # a program says what it logs, tests do not

    async def example(url: str, report: Report) -> None:
        report.show("one", holds=True)
        await asyncio.sleep(0)
        report.show("two", holds=url != redis_server.url)

    assert run("A title", example) == 1
    assert "✔ one\n" in (said := capsys.readouterr().out)
    assert "✘ two\n" in said


def folders() -> list[Path]:
    return sorted(path.parent for path in (ROOT / "examples").glob("*/__main__.py"))


def test_each_example_is_run_here() -> None:
    assert {folder.name for folder in folders()} == set(EXAMPLES)


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.name)
def test_each_example_says_in_a_few_lines_how_to_run_it(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")

    assert f"$ python -m examples.{folder.name}\n" in text
    assert len(text.splitlines()) <= 16
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (folder / link).exists(), link
