"""What counts in the background, and hands over what it has counted."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod

from stoker.core.background import Background
from stoker.core.errors import LinkError

logger = logging.getLogger(__name__)


class Flushing(ABC):
    """A background task that flushes from time to time."""

    _background: Background

    async def start(self) -> None:
        """Begin; a second start does nothing."""
        self._background.start()

    async def stop(self) -> None:
        """Stop, after a last flush if the server answers."""
        if not await self._background.stop():
            return
        try:
            await self.flush()
        except LinkError:
            return  # what was counted last is lost with this process
        except Exception:  # whatever it is, the cache closes
            logger.exception("action=flush_failed", extra={"action": "flush_failed"})

    @abstractmethod
    async def flush(self) -> None:
        """Hand over what was counted since the last flush.

        Raises:
            LinkError: The server can't be reached; what was counted stays for the next flush.
        """
