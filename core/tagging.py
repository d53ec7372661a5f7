"""Asking functions of users which tags a value has."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from stoker.core.counters import TypeCounters
from stoker.core.entries.entry import encode_tags

logger = logging.getLogger(__name__)

#: Functions whose failures were said; of more, each failure is only counted.
MAX_REPORTED = 1_000


class Tagging:
    """Asks for tags; a function that can't tell them is said once."""

    def __init__(self) -> None:
        self._reported: set[tuple[str, str]] = set()

    def tags_of(
        self,
        value: Any,
        function: Callable[[Any], Iterable[str]] | None,
        cache_type: str,
        loader: str,
        counters: TypeCounters,
    ) -> tuple[bytes, ...] | None:
        """The value's tags; None when they can't be told: then it is returned, and not stored."""
        if function is None:
            return ()
        try:
            return encode_tags(function(value))
        except Exception as error:  # noqa: BLE001  somebody else's function; the value itself is good
            counters.unstorable += 1
            name = (cache_type, loader)
            if name not in self._reported and len(self._reported) < MAX_REPORTED:
                self._reported.add(name)
                logger.warning(
                    "action=untaggable cache_type=%s loader=%s reason=%s: %s",
                    cache_type,
                    loader,
                    type(error).__name__,
                    error,
                    extra={"action": "untaggable", "loader": loader},
                )
            return None
