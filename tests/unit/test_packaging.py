"""The hand-kept package list and the link tree must follow the folders."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TOP = ("core", "schedules", "tasks", "worker")


def test_every_package_folder_is_listed() -> None:
    """A folder left out of `packages` is missing from the wheel without a word."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = {
        "stoker." + ".".join(init.parent.relative_to(ROOT).parts)
        for top in TOP
        for init in (ROOT / top).rglob("__init__.py")
    }

    assert found == set(config["tool"]["setuptools"]["packages"])


def test_type_checkers_see_the_same_folders() -> None:
    """`src/stoker/NAME` is the folder NAME, for mypy and pyright only."""
    assert [(ROOT / "src" / "stoker" / top).resolve() for top in TOP] == [ROOT / top for top in TOP]
