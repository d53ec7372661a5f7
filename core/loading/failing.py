"""Loaders that fail while there is something to answer with: when to leave them alone, and what is said."""

from __future__ import annotations

import logging
import time

from stoker.core.loading.throttle import Throttle

logger = logging.getLogger(__name__)


class FailingLoaders:
    """Remembers which keys could not be loaded a moment ago.

    Failures that a caller is told of are its own to report. Those that nobody sees, because a caller was
    answered from the cache, are said here: once when they begin, and once when a load of the type goes well
    that long after the last of them.
    """

    def __init__(self) -> None:
        self._throttle = Throttle()
        self._since: dict[str, float] = {}
        """Cache types whose failures were said, with when the last one may be taken for over."""

    def failed(self, name: tuple[str, str], seconds: float) -> None:
        """A key could not be loaded: leave its loader alone so long, while there is something to serve."""
        self._throttle.hold(name, seconds)

    def throttled(self, name: tuple[str, str]) -> bool:
        """Whether a key's loader is to be left alone now."""
        return self._throttle.holds(name)

    def worked(self, name: tuple[str, str]) -> None:
        """A key was loaded."""
        self._throttle.free(name)
        cache_type = name[0]
        until = self._since.get(cache_type)
        if until is not None and until < time.monotonic():
            del self._since[cache_type]
            logger.warning(
                "action=loads_recovered cache_type=%s", cache_type, extra={"action": "loads_recovered"}
            )

    def swallowed(self, cache_type: str, error: Exception, seconds: float) -> None:
        """A load failed, and its caller was answered from the cache."""
        known = cache_type in self._since
        self._since[cache_type] = time.monotonic() + seconds
        if not known:
            logger.warning(
                "action=loads_failing cache_type=%s reason=%s: %s",
                cache_type,
                type(error).__name__,
                error,
                extra={"action": "loads_failing"},
            )
