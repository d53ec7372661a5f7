"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

MODULES = (
    "stoker.core.keys",
    "stoker.core.settings.redaction",
    "stoker.worker.announce",
    "stoker.worker.cli.show",
    "stoker.worker.listen",
    "stoker.worker.logs",
    "stoker.worker.supervisor",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    result = doctest.testmod(import_module(name))

    assert result.attempted > 0
    assert result.failed == 0
