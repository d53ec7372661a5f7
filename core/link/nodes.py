"""The servers of a cluster: a link to each, its clock, and which server it is exactly."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, cast

from stoker.core.clock import boottime
from stoker.core.errors import LinkError, ReplyError
from stoker.core.link.connecting import ask
from stoker.core.link.link import Link
from stoker.core.link.routing import Address, owners_by
from stoker.core.settings.addresses import Servers

#: Seconds after which a server is asked for its time again, when that is needed.
CLOCK_SECONDS = 5.0

#: A server without slots is forgotten so many seconds after a key was last on its way there.
GUEST_SECONDS = 60.0


class NodeClock:
    """What a server's clock shows, by its last answer and the time since."""

    def __init__(self) -> None:
        self._shown = 0.0
        self._at = float("-inf")

    @property
    def is_old(self) -> bool:
        """Whether it is time to ask again."""
        return boottime() - self._at > CLOCK_SECONDS

    def take(self, reply: Any) -> None:
        """Take in the reply to a TIME."""
        if isinstance(reply, list):
            seconds, micros = (int(part) for part in cast("list[bytes]", reply))
            self._shown, self._at = seconds * 1000 + micros / 1000, boottime()

    def at(self, moment: float) -> int:
        """What it showed at a moment (seconds of `clock.boottime`), or a little less; in milliseconds."""
        return int(self._shown + (moment - self._at) * 1000)


async def identify(call: Callable[..., Awaitable[Any]]) -> str:
    """Which server this is exactly: another once it was started again, or became the master.

    Such a server may bring back what was unlinked: a replica had not heard of it yet, a snapshot was older.

    Raises:
        LinkError: It is no master.
        ReplyError: It refuses to say.
    """
    server, replication = _fields(await call("INFO", "server")), _fields(await call("INFO", "replication"))
    if replication.get("role", "master") != "master":
        raise LinkError("it is a replica")
    told = f"{server.get('run_id', '')}:{replication.get('master_replid', '')}"
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def _fields(info: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in info.decode(errors="replace").split("\r\n"))
    return {name: value for name, colon, value in pairs if colon}


class NodeLink(Link):
    """A link to a server of the cluster other than the log's.

    Args:
        url: The server's.
        connect_timeout: Seconds one attempt to connect may take.
        timeout: Seconds without any reply within which callers are told.
        on_change: Called when the connection was opened, before it serves, and when it is gone.
    """

    def __init__(
        self, url: str, *, connect_timeout: float, timeout: float, on_change: Callable[[], None]
    ) -> None:
        super().__init__(url, connect_timeout=connect_timeout, timeout=timeout)
        self.clock = NodeClock()
        self.identity: str | None = None
        """Which server it was when the connection was last opened; None where nobody knows."""
        self._on_change = on_change

    async def _greet(self) -> None:
        self.identity = await identify(self.call_early)
        self.clock.take(await self.call_early("TIME"))
        self._on_change()

    def _drop(self, reason: str) -> None:
        had = self._wire is not None
        super()._drop(reason)
        if had:
            self._on_change()


class Nodes:
    """The links to all servers of a cluster but the log's.

    Args:
        servers: How they are reached.
        connect_timeout: Seconds one attempt to connect may take.
        timeout: Seconds without any reply within which callers are told.
        on_change: Called when a connection was opened, before it serves, and when one is gone.
    """

    def __init__(
        self, servers: Servers, *, connect_timeout: float, timeout: float, on_change: Callable[[], None]
    ) -> None:
        self._servers = servers
        self._limits = connect_timeout, timeout
        self._on_change = on_change
        self._links: dict[Address, NodeLink] = {}
        self._guests: dict[Address, float] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def links(self) -> list[tuple[Address, NodeLink]]:
        """All of them, in a steady order."""
        return sorted(self._links.items(), key=lambda item: item[0])

    def need(self, address: Address) -> NodeLink:
        """The link to a server.

        Raises:
            LinkError: There is none yet.
        """
        link = self._links.get(address)
        if link is None:
            raise LinkError(f"{address[0]}:{address[1]} is not connected yet")
        return link

    def invite(self, address: Address) -> NodeLink:
        """The link to a server that keys are on their way to; if it has no slots, it is on no map."""
        self._guests[address] = boottime()
        return self._links.get(address) or self._add(address)

    async def keep(self, needed: set[Address]) -> None:
        """Keep links to these servers, and let go of the others; wait until each was tried once."""
        now = boottime()
        self._guests = {at: since for at, since in self._guests.items() if now - since < GUEST_SECONDS}
        for address in needed - self._links.keys():
            self._add(address)
        for address in self._links.keys() - needed - self._guests.keys():
            task = asyncio.create_task(self._links.pop(address).close(), name="stoker-node-close")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        new = [link.connect() for link in self._links.values() if not link.connections]
        await asyncio.gather(*new)

    async def first_map(self) -> list[Address | None]:
        """The owner of each slot, by the first answer to connections made for it, to all known servers.

        Raises:
            LinkError: None of them answers.
        """
        reason = ""
        places = dict.fromkeys([*self._servers.hosts, *self._links])
        asked = [asyncio.create_task(self._ask_at(address)) for address in places]
        try:
            for answer in asyncio.as_completed(asked):
                try:
                    return await answer
                except (LinkError, ReplyError) as error:
                    reason = str(error)
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        raise LinkError(reason)

    async def _ask_at(self, address: Address) -> list[Address | None]:
        url, (limit, _) = self._servers.at(*address), self._limits
        return owners_by(await ask(url, limit, "CLUSTER", "SLOTS"), address)

    async def close(self) -> None:
        """Let go of all."""
        links, self._links = list(self._links.values()), {}
        await asyncio.gather(*(link.close() for link in links), *self._closing, return_exceptions=True)

    def _add(self, address: Address) -> NodeLink:
        connect_timeout, timeout = self._limits
        link = self._links[address] = NodeLink(
            self._servers.at(*address),
            connect_timeout=connect_timeout,
            timeout=timeout,
            on_change=self._on_change,
        )
        return link
