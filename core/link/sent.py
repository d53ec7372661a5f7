"""A command with a key, on its way to the server of a cluster that the key belongs to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from stoker.core.errors import LinkError
from stoker.core.link.calls import Command, Handler
from stoker.core.link.routing import Address
from stoker.core.link.wire import tell


@dataclass(slots=True)
class Sent:
    """One of them."""

    slot: int
    command: Command | Callable[[int], Command]
    """Itself, or what makes it: of the latest time, on its server's clock, at which it may be carried out."""
    handler: Handler
    of_log: bool = False
    began: float = 0.0
    redirections: int = 0

    def end(self, sending: asyncio.Task[None]) -> None:
        """Tell who waits, if the task that was to send it on was ended before it could."""
        if sending.cancelled():
            tell(self.handler, LinkError("the link was closed"))


class Parked(NamedTuple):
    """A command that waits for a new map of slots."""

    sent: Sent
    refused_by: Address
    hint: Address
    """Where the server that refused it said it belongs."""
