"""The deployment files, read as their consumers read them, for the tests that hold them against the code."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from stoker.worker.cli import cli

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"

#: Variables that docker-compose.yml takes from the environment, as a user would set them.
SECRETS = {"REDIS_PASSWORD": "r3dis", "RABBITMQ_PASSWORD": "r4bbit", "GRAFANA_PASSWORD": "gr4fana"}

_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::[?-]([^}]*))?\})")


def compose_text() -> str:
    """docker-compose.yml as it stands."""
    return (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


def compose() -> dict[str, Any]:
    """docker-compose.yml with its variables filled in, as `docker compose` does before it reads it."""

    def fill(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else SECRETS[match[1]]

    document: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(fill, compose_text()))
    return document


def services() -> dict[str, dict[str, Any]]:
    """The services by name."""
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def variables() -> dict[str, str]:
    """The variables that docker-compose.yml asks for, with what it says when one is missing."""
    return {match[1]: match[2] or "" for match in _VARIABLE.finditer(compose_text()) if match[1]}


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile."""

    name: str
    text: str


@dataclass(frozen=True)
class Stage:
    """One stage of a Dockerfile."""

    name: str
    base: str
    instructions: list[Instruction]

    def last(self, name: str) -> str | None:
        """What the last instruction of a name says."""
        found = [item.text for item in self.instructions if item.name == name]
        return found[-1] if found else None

    def all(self, name: str) -> list[str]:
        """What all instructions of a name say."""
        return [item.text for item in self.instructions if item.name == name]


def dockerfile() -> list[Stage]:
    """The stages of deploy/Dockerfile, in order."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    stages: list[Stage] = []
    for line in filter(str.strip, re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()):
        name, _, text = line.partition(" ")
        if name == "FROM":
            base, _, alias = text.partition(" AS ")
            stages.append(Stage(alias.strip(), base.strip(), []))
        else:
            stages[-1].instructions.append(Instruction(name, text.strip()))
    return stages


def parse_command(arguments: list[str]) -> click.Context:
    """Parse a command line of `stoker` as the program does, without running it.

    Raises:
        click.UsageError: There is no such command, or it takes no such arguments.
    """
    context = click.Context(cli, info_name="stoker")
    name, command, rest = cli.resolve_command(context, list(arguments))
    assert command is not None
    return command.make_context(name, rest, parent=context)


def shop_client(arguments: list[str]) -> Any:
    """What the example's client reads from its arguments: a `Plan`."""
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))  # the example is no part of the installed package
    from examples.shop import replay

    return replay.plan_of(replay.parser().parse_args(arguments))


def rules() -> Iterator[dict[str, Any]]:
    """All recording and alert rules."""
    for file in sorted((DEPLOY / "prometheus" / "rules").glob("*.yml")):
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            yield from group["rules"]


def dashboard() -> dict[str, Any]:
    """The Grafana dashboard."""
    found: dict[str, Any] = json.loads((DEPLOY / "grafana" / "dashboards" / "stoker.json").read_text())
    return found


def expressions() -> list[str]:
    """All PromQL expressions of rules and dashboard."""
    panels = dashboard()["panels"]
    return [rule["expr"] for rule in rules()] + [
        target["expr"] for panel in panels for target in panel.get("targets", [])
    ]


_WORDS = {
    "and",
    "or",
    "unless",
    "offset",
    "bool",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
}


def names_in(expression: str) -> set[str]:
    """The names of the series that a PromQL expression reads."""
    text = re.sub(r'"[^"]*"', "", expression)
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", text)
    text = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", text)
    text = re.sub(r"\boffset\s+\w+", "", text)
    found = re.findall(r"(?<![\w:.])([a-zA-Z_:][\w:]*)\b(?!\s*\()", text)
    return {name for name in found if name not in _WORDS}


def labels_in(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Each selector of a PromQL expression with labels: the series' name and the labels it asks for."""
    for name, selector in re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", expression):
        yield name, set(re.findall(r"(\w+)\s*[=!]~?", re.sub(r'"[^"]*"', '""', selector)))
