"""What counts in the background, and hands over what it has counted."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod

from stoker.core.background import Background
from stoker.core.errors import LinkError


class Flushing(ABC):
    """A background task that flushes from time to time."""

    _background: Background

    async def start(self) -> None:
        """Begin; a second start does nothing."""
        self._background.start()

    async def stop(self) -> None:
        """Stop, after a last flush if the server answers."""
        if await self._background.stop():
            with contextlib.suppress(LinkError):
                await self.flush()

    @abstractmethod
    async def flush(self) -> None:
        """Hand over what was counted since the last flush.

        Raises:
            LinkError: The server can't be reached; what was counted stays for the next flush.
        """
