"""Whatever stands in the file or the environment: a configuration or a `ConfigError`, nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoker.core.errors import ConfigError
from stoker.core.settings.config import describe, load_config
from stoker.core.settings.environment import OLDER_NAMES, variables
from stoker.core.settings.fields import Kind
from stoker.core.settings.redaction import redact_url
from stoker.worker.config import StokerConfig

quick = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])

NAMES = sorted(
    {
        part.lower()
        for name in variables(Kind(StokerConfig), StokerConfig().model_dump())
        for part in name.split("__")
    }
)
YAML_PIECES = st.sampled_from(
    [
        *NAMES,
        ": ",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "'",
        '"',
        "|",
        ">",
        "&a ",
        "*a",
        "!!str ",
        "#",
        "? ",
        "---",
        "...",
        "%YAML 1.1",
        "\t",
        "~",
        "true",
        "5s",
        "-1",
        ".nan",
        "1e999",
        "\u2028",
        "\x85",
        "\ufeff",
        "<<",
        "0x",
        "\\",
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["5s", "1MiB", "redis://:p@h:1/0", "warm", "* * * * *", "127.0.0.1:0", "a.b", "session"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=8)), inner, max_size=5),
    ),
    max_leaves=30,
)


def attempt(raw: bytes, environ: Mapping[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stoker.yaml"
        path.write_bytes(raw)
        try:
            loaded = load_config(StokerConfig, path, environ)
        except ConfigError as error:
            message = str(error)
            assert message
            assert all(line.isprintable() for line in message.split("\n"))
            assert all(
                line.startswith((str(path), "environment variable ")) or line[:4] == "... "
                for line in message.split("\n")
            )
        else:
            assert {setting.field for setting in describe(loaded)} == set(loaded.origins)
            assert StokerConfig.model_validate(loaded.value.model_dump()) == loaded.value


@quick
@given(st.binary(max_size=300))
def test_any_bytes(raw: bytes) -> None:
    attempt(raw, {})


@quick
@given(st.lists(YAML_PIECES, max_size=40).map("".join))
def test_what_looks_like_yaml(text: str) -> None:
    attempt(text.encode(), {})


@quick
@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6))
def test_any_values(data: dict[str, Any]) -> None:
    attempt(yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "replace"), {})


@quick
@given(
    st.dictionaries(
        st.one_of(
            st.sampled_from(sorted(OLDER_NAMES)),
            st.sampled_from(NAMES).map(lambda name: f"STOKER_{name.upper()}"),
            st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map(
                lambda parts: "STOKER_" + "__".join(parts).upper()
            ),
            st.text(max_size=10).map(lambda text: f"STOKER_{text}"),
        ),
        st.one_of(st.text(max_size=30), YAML_PIECES, st.lists(YAML_PIECES, max_size=8).map("".join)),
        max_size=5,
    )
)
def test_any_environment(environ: dict[str, str]) -> None:
    attempt(b"types: {product: {ttl: 5s}}\n", environ)


@quick
@given(
    st.sampled_from(["redis://", "amqp://u", "unix://", ""]),
    st.text(alphabet=st.characters(exclude_characters=";@", exclude_categories=["Cs"]), max_size=12),
)
def test_no_password_gets_through(scheme: str, password: str) -> None:
    marked = f"S3CRET{password}S3CRET"

    assert "S3CRET" not in redact_url(f"{scheme}:{marked}@h:1/0")
