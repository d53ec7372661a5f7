"""The help: complete, true, and quick, because it imports next to nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from stoker.worker.cli import SECTIONS, cli
from stoker.worker.cli.lazy import Command

COMMANDS = [command for section in SECTIONS for command in section.commands]


def test_the_help_lists_every_command_in_its_section() -> None:
    text = CliRunner().invoke(cli, ["--help"]).output

    for section in SECTIONS:
        assert f"{section.title}:" in text
    for command in COMMANDS:
        assert f"  {command.name}" in text
        assert command.help in text


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: str(command.name))
def test_every_command_exists_and_has_a_help_of_its_own(command: Command) -> None:
    result = CliRunner().invoke(cli, [command.name, "--help"])

    assert result.exit_code == 0
    assert f"Usage: cli {command.name}" in result.output


@pytest.mark.parametrize("group", ["config", "schedule"])
def test_groups_have_a_line_on_each_of_theirs(group: str) -> None:
    text = CliRunner().invoke(cli, [group, "--help"]).output

    for name in ("show", "check"):
        assert f"  {name}" in text


def test_the_help_imports_neither_configuration_nor_celery() -> None:
    code = (
        "import sys\nfrom stoker.worker.cli import cli\n"
        "cli(['--help'], standalone_mode=False)\n"
        "heavy = {'celery', 'pydantic', 'redis', 'rich', 'structlog'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True, cwd=Path.cwd()
    )

    assert done.stderr.strip() == "[]"


def test_a_command_that_is_not_there_is_told() -> None:
    result = CliRunner().invoke(cli, ["wram"])

    assert result.exit_code == 2
    assert "No such command 'wram'" in result.output
