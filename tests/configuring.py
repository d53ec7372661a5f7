"""Configuration files for tests, and what is said of them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stoker.core.errors import ConfigError
from stoker.core.settings.config import CacheConfig, Loaded, load_config
from stoker.worker.config import StokerConfig


def write(folder: Path, text: str | bytes) -> Path:
    """Write a stoker.yaml of the (dedented) text into `folder`."""
    path = folder / "stoker.yaml"
    path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
    return path


def load(
    folder: Path, text: str | bytes = "", environ: Mapping[str, str] | None = None
) -> Loaded[StokerConfig]:
    """Load the whole configuration from a file of this text and an environment of these variables alone."""
    return load_config(StokerConfig, write(folder, text), environ or {})


def load_cache(
    folder: Path, text: str | bytes = "", environ: Mapping[str, str] | None = None
) -> Loaded[CacheConfig]:
    """Load the cache's part, as a service does."""
    return load_config(CacheConfig, write(folder, text), environ or {})


def problems(
    folder: Path,
    text: str | bytes = "",
    environ: Mapping[str, str] | None = None,
    model: type[Any] = StokerConfig,
) -> list[str]:
    """Return the lines of the error that loading raises, without the folder's name."""
    with pytest.raises(ConfigError) as caught:
        load_config(model, write(folder, text), environ or {})
    return str(caught.value).replace(f"{folder}/", "").splitlines()
