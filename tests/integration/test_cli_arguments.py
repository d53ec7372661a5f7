"""What a command can't take it refuses in one line, as a process of its own is given it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import run_stoker
from tests.servers import RedisServer


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("warm", "product", "--seconds", "nan"), "no length of time"),
        (("warm", "product", "--seconds", "inf"), "no length of time"),
        (("health", "http://127.0.0.1:1/", "--timeout", "nan"), "no length of time"),
        (("explain", "product", b"\xff\xfe"), "a key can't hold half a surrogate pair"),
        (("explain", "product", ""), "a key has 1 to 512 characters, this one 0"),
        (("explain", "product", "k" * 10_000), "a key has 1 to 512 characters, this one 10000"),
        (("pause", "product", "--reason", b"\xff"), "a reason can't hold half a surrogate pair"),
        (("pause", "product", "--reason", "x" * 201), "at most 200 characters, not 201"),
        (("invalidate", "product:1", "--reason", b"\xff"), "a reason can't hold half a surrogate pair"),
        (("invalidate", "product:1", "--reason", "x" * 201), "at most 200 characters, not 201"),
        (("invalidate", "product:1", "--reason", "a\nb"), "control characters"),
        (("invalidate", "product:1", "--reason", "\x1b[31m"), "control characters"),
    ],
)
def test_what_it_cannot_take_is_refused_in_a_line(
    command: tuple[str | bytes, ...], told: str, tmp_path: Path, redis_server: RedisServer, prefix: str
) -> None:
    arguments = [
        text.decode(errors="surrogateescape") if isinstance(text, bytes) else text for text in command
    ]

    done = run_stoker(
        *arguments,
        url=redis_server.url,
        folder=tmp_path,
        environment={"STOKER_PREFIX": prefix, "STOKER_TYPES__PRODUCT__TTL": "60s"},
    )

    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
