"""What a process tells the fleet: which keys are hot, and how often its caches hit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stoker.core.background import end_each
from stoker.core.warming.hotkeys import HotKeys
from stoker.core.warming.rates import CounterFlush

if TYPE_CHECKING:
    from stoker.core.parts import Parts


class Recording:
    """The background tasks of a manager, started and stopped together."""

    def __init__(self, manager: Parts) -> None:
        self._tasks = (HotKeys(manager), CounterFlush(manager))

    async def start(self) -> None:
        """Start them."""
        for task in self._tasks:
            await task.start()

    async def stop(self) -> None:
        """Stop them; what they hold is flushed first."""
        await end_each(*(task.stop for task in reversed(self._tasks)))
