"""Log lines, as a process writes them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.commands import clean_environment

PROGRAM = """
import logging, warnings
import structlog
from stoker.worker import logs

logs.configure({format!r}, "info", component="worker")
{code}
"""


def run(code: str, log_format: str = "json", **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(format=log_format, code=code)],
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout == ""
    return done.stderr


def lines(code: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(code).splitlines()]


def test_structlog_and_logging_give_the_same_lines() -> None:
    first, second = lines(
        'structlog.get_logger("a").info("warmed", loaded=3)\n'
        'logging.getLogger("a").info("warmed", extra={"loaded": 3})'
    )

    for line in (first, second):
        assert line.pop("timestamp").endswith("Z")
        assert line == {"event": "warmed", "loaded": 3, "level": "info", "logger": "a", "component": "worker"}


def test_the_trace_stands_on_each_line_within() -> None:
    inside, outside = lines(
        'with structlog.contextvars.bound_contextvars(trace="event-7"):\n'
        '    logging.getLogger("a").info("inside")\n'
        'logging.getLogger("a").info("outside")'
    )

    assert (inside["event"], inside["trace"]) == ("inside", "event-7")
    assert outside["event"] == "outside"
    assert "trace" not in outside


def test_secrets_are_hidden_wherever_they_stand() -> None:
    found = run(
        'url = "redis://app:s3cret@cache:6379/0"\n'
        'structlog.get_logger("a").info("lost " + url, url=url, nested={"urls": [url]}, password="s3cret")\n'
        "try:\n    raise ValueError(url)\n"
        'except ValueError:\n    logging.getLogger("a").exception("failed")'
    )

    assert "s3cret" not in found
    assert "redis://app:***@cache:6379/0" in found
    assert all(json.loads(line) for line in found.splitlines())


def test_no_local_variable_reaches_a_traceback_for_people() -> None:
    found = run(
        'token_of_somebody = "s3cr" + "et"\n'
        'try:\n    1 / 0\nexcept ZeroDivisionError:\n    logging.getLogger("a").exception("failed")',
        "console",
    )

    assert "ZeroDivisionError" in found
    assert "s3cret" not in found


def test_warnings_are_lines_too() -> None:
    (line,) = lines('warnings.warn("old", UserWarning)')

    assert line["level"] == "warning"
    assert "old" in line["event"]


def test_a_crash_is_one_line() -> None:
    (line,) = lines('raise RuntimeError("out of luck")')

    assert line["level"] == "critical"
    assert "out of luck" in line["event"]
    assert "Traceback" in line["exception"]


def test_console_lines_are_short() -> None:
    found = run(
        'logging.getLogger("a").warning("action=link_down reason=%s", "gone",'
        ' extra={"action": "link_down", "reason": "gone"})',
        "console",
    )

    assert found[9:] == "[warning] link_down reason=gone\n"


def test_colours_only_where_asked_for() -> None:
    code = 'logging.getLogger("a").info("x")'

    assert "\x1b[" in run(code, "console", FORCE_COLOR="1")
    assert "\x1b[" not in run(code, "console", FORCE_COLOR="1", NO_COLOR="1")
    assert "\x1b[" not in run(code, "console")
