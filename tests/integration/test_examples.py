"""The examples run, show what they say, and leave nothing behind."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import redis
from examples.running import Report, run
from examples.sessions.sessions import NoSessionError, Session, Sessions

from stoker.core import CacheConfig, CacheManager
from tests.managers import make_manager
from tests.pages import ROOT
from tests.servers import RedisServer, free_port

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


@pytest.mark.parametrize("name", EXAMPLES)
def test_with_a_dead_server_it_says_so_and_nothing_else(name: str) -> None:
    result = run_example(name, REDIS_URL=f"redis://:secret@127.0.0.1:{free_port()}/0")

    assert result.returncode == 2
    assert not result.stdout
    assert re.fullmatch(r"no server at \$REDIS_URL, redis://.*\n", result.stderr)
    assert "secret" not in result.stderr


def test_a_url_that_is_none_is_told_in_one_line() -> None:
    result = run_example("sessions", REDIS_URL="http://:secret@host/")

    assert (result.returncode, result.stdout) == (2, "")
    assert re.fullmatch(r"\$REDIS_URL: .*http.*\n", result.stderr)
    assert "secret" not in result.stderr


async def test_no_session_is_tried_for_ever_on_a_dead_server() -> None:
    config = CacheConfig(redis_url=f"redis://127.0.0.1:{free_port()}/0")
    async with CacheManager(config, recording=False) as cache:
        with pytest.raises(NoSessionError, match="server"):
            await Sessions(cache).sign_in(1)


class EndedMeanwhile(Sessions):
    """A request that takes so long that its user signs out everywhere before it changes the session."""

    async def find(self, name: str) -> Session | None:
        session = await super().find(name)
        if session is not None:
            assert await self.sign_out_everywhere(session.user)
        return session


async def test_a_session_that_ends_while_a_request_changes_it_has_ended(
    redis_server: RedisServer, prefix: str
) -> None:
    async with make_manager(redis_server, prefix) as cache:
        name = await Sessions(cache).sign_in(1)
        assert await Sessions(cache).put_into_cart(name, "tea")

        assert not await EndedMeanwhile(cache).put_into_cart(name, "cup")

        assert await Sessions(cache).find(name) is None


#: An example that says when it has stored something, and then waits for its end.
WAITING = """
import asyncio, sys
from examples.running import cache_of, run, settings

async def main(url, report):
    async with cache_of(settings(url, "waiting")) as cache:
        await cache.set("session", "s1", {"user": 1})
        print(f"ready at {url}", flush=True)
        await asyncio.Event().wait()

sys.exit(run("Waiting", main))
"""


@pytest.mark.parametrize("given", [True, False], ids=["given", "started"])
def test_what_is_terminated_cleans_up(given: bool, redis_server: RedisServer, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "REDIS_URL"}
    environment |= {"TMPDIR": str(tmp_path)} | ({"REDIS_URL": redis_server.url} if given else {})
    command = [sys.executable, "-c", WAITING]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = next(line for line in process.stdout if line.startswith("ready at ")).split()[-1]
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    if given:
        client = redis_server.client()
        assert not client.keys("example-waiting-*")
        client.close()
    else:
        with pytest.raises(redis.ConnectionError):
            redis.Redis.from_url(url).ping()
        assert not list(tmp_path.glob("stoker-example-*"))


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


def test_the_page_of_all_examples_names_each_and_the_folder_to_run_them_in() -> None:
    text = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")

    for folder in folders():
        assert f"`python -m examples.{folder.name}`" in text
    assert "the folder of the project, the one with `pyproject.toml`" in " ".join(text.split())


def test_each_example_is_run_here() -> None:
    assert {folder.name for folder in folders()} == set(EXAMPLES)


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.name)
def test_each_example_says_in_a_few_lines_how_to_run_it(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")

    assert f"$ python -m examples.{folder.name}\n" in text
    assert len(text.splitlines()) <= 16
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (folder / link).exists(), link
