"""The switch from an older cache: the moment from which on the log says what was invalidated.

The first process that looks for old entries notes the log's epoch, and how far back the log was known; all
others of the fleet go by its note.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stoker.core.errors import LinkError, StokerError
from stoker.core.log.position import format_position, parse_position
from stoker.core.manager import CacheManager
from stoker.core.settings.policy import Policy

logger = logging.getLogger(__name__)

#: The note outlives the last moment at which anybody asks for it by so many seconds.
NOTE_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Switch:
    """When it was, by the log and by the clock."""

    epoch: int
    position: int
    """All records after it are known."""
    at: float
    """Unix time."""


class SwitchNote:
    """One switch of the fleet, and what the log says since.

    Args:
        manager: The cache.
        name: Tells it from other switches.
        until: Unix time at which the note may be forgotten.
    """

    def __init__(self, manager: CacheManager, name: str, until: float) -> None:
        self._manager = manager
        self._key = manager.keys.switch(name)
        self._until = until
        self._found: Switch | None = None
        self._told = False

    async def find(self) -> Switch | None:
        """Return the switch as the first process noted it; None while the log can't be asked."""
        if self._found is None:
            self._found = await self._ask()
        return self._found

    async def _ask(self) -> Switch | None:
        manager = self._manager
        if not await manager.log.read_back():
            return None
        mine = Switch(manager.log.epoch, manager.log.known_from, time.time())
        if not manager.config.redis.enabled:
            return mine
        kept_ms = int((self._until + NOTE_SECONDS - time.time()) * 1000)
        try:
            _, _, noted = await manager.link.calls(
                [
                    ("SET", self._key, _pack(mine), "NX", "PX", kept_ms),
                    ("PEXPIRE", self._key, kept_ms, "GT"),
                    ("GET", self._key),
                ]
            )
        except LinkError:
            return None
        return _unpack(noted)

    def spares(
        self, cache_type: str, key: str, tags: Sequence[bytes], switch: Switch, policy: Policy
    ) -> bool:
        """Whether the log is known since the switch, and names nothing of an entry."""
        log = self._manager.log
        if not log.epoch or (log.epoch != switch.epoch and policy.after_rollback != "trust"):
            self._tell("the log has lost its history since the switch")
            return False
        if log.known_from > switch.position:
            self._tell("the log does not go back to the switch: it was swept")
            return False
        return not log.killer(cache_type, key, tags, switch.position)

    def _tell(self, reason: str) -> None:
        if not self._told:
            self._told = True
            said = {"action": "old_entries_refused"}
            logger.warning("action=old_entries_refused reason=%s", reason, extra=said)


def _pack(switch: Switch) -> str:
    return f"{switch.epoch:016x}:{format_position(switch.position)}:{int(switch.at * 1000)}"


def _unpack(noted: Any) -> Switch | None:
    try:
        epoch, position, at_ms = noted.decode().split(":")
        return Switch(int(epoch, 16), parse_position(position), int(at_ms) / 1000)
    except (AttributeError, ValueError, StokerError):
        return None  # a stranger's
