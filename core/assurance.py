"""Making sure of what was appended: replicas have it, or the disk, before it counts as acknowledged.

`WAIT` holds up all that comes after it on its connection, so these appends have a connection of their own.
"""

from __future__ import annotations

import logging
from typing import Any

from stoker.core.calls import Command
from stoker.core.errors import LinkError, ReplyError
from stoker.core.link import Link

logger = logging.getLogger(__name__)


class Assurance:
    """Appends, and waits for whoever else must have it.

    Args:
        link: A connection of its own, not connected yet; its timeout must be longer than `timeout`.
        replicas: So many replicas must have it.
        on_disk: Whether the server must have it on its disk (in its append-only file).
        timeout: Seconds to wait for them.
    """

    def __init__(self, link: Link, *, replicas: int, on_disk: bool, timeout: float) -> None:
        self._link = link
        self._replicas = replicas
        self._on_disk = on_disk
        self._timeout_ms = max(1, int(timeout * 1000))
        self._reported = False

    async def append(self, command: Command) -> tuple[Any, bool]:
        """Return the reply to a command that appends, and whether all who must have it do.

        Raises:
            LinkError: The server can't be reached.
            ReplyError: It refuses the command.
        """
        await self._link.connect()
        commands = [command]
        if self._replicas:
            commands.append(("WAIT", self._replicas, self._timeout_ms))
        if self._on_disk:
            commands.append(("WAITAOF", 1, 0, self._timeout_ms))
        reply, *waits = await self._link.gather(commands)
        if isinstance(reply, (LinkError, ReplyError)):
            raise reply
        missing = self._missing(waits)
        if reply is not None:
            self._report(missing)
        return reply, not missing

    async def close(self) -> None:
        """Close the connection; a further append opens it again."""
        await self._link.close()

    def _missing(self, waits: list[Any]) -> str:
        """Who does not have it, for people; empty where all do."""
        if self._replicas:
            have = waits[0]
            if isinstance(have, Exception) or have < self._replicas:
                return f"{have} of {self._replicas} replicas have it"
        if self._on_disk:
            have = waits[-1]
            if isinstance(have, Exception) or have[0] < 1:
                return f"it is not on the disk ({have})"
        return ""

    def _report(self, missing: str) -> None:
        """Tell each change of state once."""
        if bool(missing) == self._reported:
            return
        self._reported = bool(missing)
        if missing:
            logger.error("action=append_unassured reason=%s", missing, extra={"action": "append_unassured"})
        else:
            logger.warning("action=append_assured", extra={"action": "append_assured"})
