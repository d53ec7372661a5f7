"""`stoker health`: one look at a component, for container engines."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import click

from stoker.worker.cli.arguments import SecondsRange


@click.command()
@click.argument("url")
@click.option(
    "--timeout", default=3.0, show_default=True, type=SecondsRange(min=0.1), help="Seconds to wait."
)
def health(url: str, timeout: float) -> None:
    """Ask a component for its health: exit code 0 if it is well, else 1 and the reasons.

    URL is a page, such as http://127.0.0.1:9541/readyz.
    """
    if not url.startswith(("http://", "https://")):
        raise click.BadParameter("a URL begins with http:// or https://", param_hint="URL")
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310  # http(s), checked above
            answer.read()
    except urllib.error.HTTPError as error:
        click.echo(f"{url}: {error.code}{_reasons(error.read())}", err=True)
        raise SystemExit(1) from None
    except OSError as error:
        click.echo(f"{url}: {getattr(error, 'reason', error)}", err=True)
        raise SystemExit(1) from None
    click.echo("ok")


def _reasons(body: bytes) -> str:
    try:
        checks = json.loads(body)["checks"]
        found = [f"{name}: {check['reason']}" for name, check in checks.items() if not check["ok"]]
    except (ValueError, KeyError, TypeError):
        return ""
    return f" ({'; '.join(found)})" if found else ""
