"""Runs the real command line as a child process, in an environment that says nothing of a server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

STOKER = (sys.executable, "-m", "stoker.worker.cli")


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without what would configure Stoker, and with `variables`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STOKER_", "REDIS_", "CACHE_")) and name not in {"FORCE_COLOR", "NO_COLOR"}
    }
    return {**kept, **variables}


def run_stoker(
    *arguments: str, url: str, folder: Path, environment: Mapping[str, str] | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end against the server at `url`."""
    return subprocess.run(
        [*STOKER, *arguments],
        env=clean_environment(**{"STOKER_REDIS__URL": url, **(environment or {})}),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
