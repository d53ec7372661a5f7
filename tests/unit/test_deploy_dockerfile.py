"""The image: small, without root, asked for its health, built from what is in the repository."""

from __future__ import annotations

import json
import re
import shlex
from fnmatch import fnmatch

import pytest

from stoker.worker.config import StokerConfig
from tests.deployment import ROOT, Stage, dockerfile, parse_command

STAGES = {stage.name: stage for stage in dockerfile()}
RUNTIME = STAGES["runtime"]


def environment(stage: Stage) -> dict[str, str]:
    pairs = [pair for text in stage.all("ENV") for pair in shlex.split(text)]
    return dict(pair.split("=", 1) for pair in pairs)


def copied(stage: Stage) -> list[str]:
    """What a stage copies from the repository."""
    return [source for text in stage.all("COPY") if "--from" not in text for source in text.split()[:-1]]


def test_bases_are_slim_and_exact() -> None:
    for stage in dockerfile():
        if stage.base not in STAGES:
            assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", stage.base), stage.base
    assert STAGES["build"].base == RUNTIME.base, "what was built for one Python runs on the same one"


def test_what_is_built_by_default_is_without_the_example() -> None:
    last = dockerfile()[-1]

    assert last.base == "runtime"
    assert not last.instructions
    assert copied(STAGES["example"]) == ["examples"]
    assert not copied(RUNTIME)


def test_it_does_not_run_as_root() -> None:
    user = RUNTIME.last("USER") or ""

    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user), "a number, so that an orchestrator can tell"
    uid, gid = user.split(":")
    made = " ".join(RUNTIME.all("RUN"))
    assert f"--uid {uid}" in made
    assert f"--gid {gid}" in made
    assert "USER" not in {item.name for item in STAGES["example"].instructions}


def test_it_stops_on_sigterm_and_starts_a_worker() -> None:
    entrypoint, command = (json.loads(RUNTIME.last(name) or "") for name in ("ENTRYPOINT", "CMD"))

    assert RUNTIME.last("STOPSIGNAL") == "SIGTERM"
    assert entrypoint == ["stoker"]
    assert parse_command(command).info_name == "worker"


def test_it_asks_the_component_for_its_health() -> None:
    text = RUNTIME.last("HEALTHCHECK") or ""
    shell, flag, line = json.loads(text.partition("CMD ")[2])
    url = environment(RUNTIME)["HEALTH_URL"]
    words = shlex.split(line)

    assert (shell, flag) == ("sh", "-c")
    assert words == ["exec", "stoker", "health", "$HEALTH_URL"]
    assert parse_command(["health", url]).params["url"] == url
    assert url == f"http://{StokerConfig().worker.listen}/readyz"


def test_the_health_variable_is_no_setting_of_stoker() -> None:
    """A variable `STOKER_…` that means no field is an error."""
    assert not [name for name in environment(RUNTIME) if name.startswith("STOKER_")]


@pytest.mark.parametrize("stage", ["build", "example"])
def test_what_is_copied_is_in_the_repository_and_sent_to_the_builder(stage: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    sent = [line.removeprefix("!") for line in ignored if line.startswith("!")]

    assert "*" in ignored
    for source in copied(STAGES[stage]):
        assert (ROOT / source).exists(), source
        assert any(source == path or source.startswith(f"{path}/") for path in sent), source


def test_every_package_is_copied() -> None:
    import tomllib

    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert {name.split(".")[1] for name in packages} <= set(copied(STAGES["build"]))


def test_secrets_are_not_sent_to_the_builder() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()

    assert any(fnmatch(".env", line.removeprefix("**/")) for line in ignored if line[:1] not in {"!", "#"})
    assert not any(line in {"!.git", "!.env", "!.env.example"} for line in ignored)


def test_dependencies_are_installed_by_their_hashes() -> None:
    runs = " ".join(STAGES["build"].all("RUN"))

    assert "--require-hashes --requirement requirements/run.txt" in runs
    assert runs.count("--no-deps") == 2, "the wheel brings no versions of its own"
