"""Logs: for people on a terminal, JSON lines elsewhere; the same lines from Stoker, Celery and all others.

Each line may carry `trace`, the id that leads from an event to its invalidation and to the reload. Who binds
it with structlog's `bound_contextvars` has it on each line written inside, through `await` too.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from stoker.core.settings.redaction import HIDDEN, is_secret_name, redact_url
from stoker.worker.config import LogsConfig

Format = Literal["auto", "console", "json"]

#: A URL within a line, which may be JSON.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>\\]+")

#: Talkative below this level, whatever the level of the rest.
_QUIET = {
    "celery.redirected": "WARNING",
    "uvicorn.access": "WARNING",
    "uvicorn.error": "WARNING",
    "asyncio": "WARNING",
}


def configure(format: Format = "auto", level: str = "info", *, component: str = "stoker") -> None:  # noqa: A002
    """Send all logs of this process, and its warnings, to standard error.

    Args:
        format: `console` for people, `json` for machines, `auto` for what standard error is.
        level: The least level shown: debug, info, warning, error.
        component: Stands in each line: worker, beat, exporter, …
    """
    console = format == "console" or (format == "auto" and sys.stderr.isatty())
    structlog.configure(
        processors=[
            *_shared(component),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(console=console, component=component))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_crash


@contextmanager
def calm(config: LogsConfig) -> Generator[None]:
    """Let commands that show a result to a person show that, and of the library's logs errors alone.

    A level that somebody has set (`STOKER_LOGS__LEVEL=debug`) holds.
    """
    if "level" in config.model_fields_set:
        configure(config.format, config.level, component="cli")
        yield
        return
    library = logging.getLogger("stoker.core")
    before = library.level
    library.setLevel(logging.ERROR)
    try:
        yield
    finally:
        library.setLevel(before)


def _log_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Write the error that ends this process as a line like all others."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logging.getLogger("stoker").critical("crashed: %s", error, exc_info=(kind, error, trace))


def redact_text(text: str) -> str:
    """Hide the secrets in all URLs that stand in a text.

    >>> redact_text("lost redis://app:s3cret@cache:6379/0, waiting")
    'lost redis://app:***@cache:6379/0, waiting'
    """
    return _URL.sub(lambda match: redact_url(match[0]), text) if "://" in text else text


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Renders a line, from structlog or from plain logging, and hides the secrets in it."""

    def __init__(self, *, console: bool, component: str) -> None:
        last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
        if console:
            last += [_for_people, _console()]
        else:
            last += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
        super().__init__(
            processors=last,
            foreign_pre_chain=[*_shared(component), structlog.stdlib.ExtraAdder()],
        )

    def format(self, record: logging.LogRecord) -> str:
        """The whole line, tracebacks too, without secrets."""
        return redact_text(super().format(record))


def _shared(component: str) -> list[Processor]:
    def stamp(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event.setdefault("component", component)
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        stamp,
        _hide,
    ]


def _hide(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name in event:
        if is_secret_name(name):
            event[name] = HIDDEN
    return event


def _for_people(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """The time of day is enough on a terminal, and whose terminal it is is known."""
    event["timestamp"] = str(event.get("timestamp", ""))[11:19]
    for name in ("component", "logger"):
        event.pop(name, None)
    text = str(event.get("event", ""))
    if text.startswith("action="):  # its fields stand in the text, and beside it for machines
        event["event"] = text.removeprefix("action=")
        for name in [name for name in event if f"{name}=" in text]:
            del event[name]
    return event


def _console() -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=_coloured(),
        pad_event_to=0,
        pad_level=False,
        exception_formatter=structlog.dev.plain_traceback,  # the rich one shows locals, so secrets
    )


def _coloured() -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stderr.isatty()
