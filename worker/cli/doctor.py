"""`stoker doctor`."""

from __future__ import annotations

from dataclasses import asdict

import click
from rich.table import Table
from rich.text import Text

from stoker.worker.cli.setup import config_option, json_option, loaded_config
from stoker.worker.cli.show import console, progress, write_json
from stoker.worker.doctor import Finding, examine

_MARKS = {"ok": ("ok", "green"), "warning": ("look", "yellow"), "error": ("wrong", "bold red")}


@click.command()
@config_option
@json_option
def doctor(*, as_json: bool) -> None:
    """Find what is wrong, and what to do about it: exit code 1 if something is."""
    config = loaded_config().value
    with progress("examining"):
        findings = examine(config)
    if as_json:
        write_json([asdict(finding) for finding in findings])
    else:
        _show(findings)
    if any(finding.severity == "error" for finding in findings):
        raise SystemExit(1)


def _show(findings: list[Finding]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for finding in findings:
        mark, style = _MARKS[finding.severity]
        text = Text(finding.text)
        if finding.remedy:
            text.append(f"\n→ {finding.remedy}", "cyan")
        table.add_row(Text(mark, style), finding.about, text)
    console().print(table)
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = sum(finding.severity == "warning" for finding in findings)
    click.echo(f"\n{errors} wrong, {warnings} to look at, {len(findings) - errors - warnings} ok")
