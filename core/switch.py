"""The switch from an older cache: the moment from which on the log says what was invalidated.

The first process that looks for old entries notes the log's epoch, and how far back the log was known; all
others of the fleet go by its note.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stoker.core.errors import LinkError, StokerError, UsageError
from stoker.core.log.position import START, format_position, parse_position
from stoker.core.manager import CacheManager
from stoker.core.settings.policy import Policy

logger = logging.getLogger(__name__)

#: The note outlives the last moment at which anybody asks for it by so many seconds.
NOTE_SECONDS = 86_400

#: What a switch may be called, and what one is called that has no name.
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
UNNAMED = "main"


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

    Where no note is found, it may have been lost. So a switch begins only where the log is known from its
    very beginning: it forgets nothing by beginning anew. One that has a name begins in any case.

    Args:
        manager: The cache.
        name: Tells it from other switches; None: the one that all share who name none.
        until: Unix time at which the note may be forgotten.

    Raises:
        UsageError: It can't be called so.
    """

    def __init__(self, manager: CacheManager, name: str | None, until: float) -> None:
        if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"switch: 1 to 64 of letters, digits, '.', '_' and '-', not {name!r:.80}")
        self._manager = manager
        self._named = name is not None
        self._key = manager.keys.switch(name or UNNAMED)
        self._until = until
        self._found: Switch | None = None
        self._ended = False
        self._told = False

    async def find(self) -> Switch | None:
        """Return the switch as the first process noted it; None while it can't be told, or has ended."""
        if self._found is None and not self._ended:
            try:
                self._found = await self._read() or await self._begin()
            except LinkError:
                return None
        return self._found

    @property
    def _kept_ms(self) -> int:
        return int((self._until + NOTE_SECONDS - time.time()) * 1000)

    async def _read(self) -> Switch | None:
        manager = self._manager
        if not manager.config.redis.enabled:
            return None
        noted, _ = await manager.link.calls([("GET", self._key), ("PEXPIRE", self._key, self._kept_ms, "GT")])
        return _unpack(noted)

    async def _begin(self) -> Switch | None:
        """Begin it, unless another process was faster."""
        manager = self._manager
        if not await manager.log.read_back():
            return None
        mine = Switch(manager.log.epoch, manager.log.known_from, time.time())
        if not manager.config.redis.enabled:
            return mine
        began = manager.log.epoch_start
        if (began == START or mine.position > began) and not self._named:
            self._ended = True
            self._tell("the log was swept, and has no note of a switch: name a new one with switch=")
            return None
        _, noted = await manager.link.calls(
            [("SET", self._key, _pack(mine), "NX", "PX", self._kept_ms), ("GET", self._key)]
        )
        return _unpack(noted)

    async def spares(
        self, cache_type: str, key: str, tags: Sequence[bytes], switch: Switch, policy: Policy
    ) -> bool:
        """Whether the log, as it is now, is known since the switch, and names nothing of an entry."""
        log = self._manager.log
        if not await log.catch_up():
            return False  # nobody knows what others have invalidated
        if log.epoch != switch.epoch and policy.after_rollback != "trust":
            self._tell("the log has lost its history since the switch")
            return False
        if log.known_from > switch.position and not await log.read_back():
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
        return None  # there is none, or a stranger's
