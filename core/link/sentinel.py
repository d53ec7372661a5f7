"""A link to the server that sentinels call the master, wherever that is.

All sentinels are asked, and the one with the newest knowledge is believed; then the server itself is asked
whether it is a master. While the link is up, one sentinel tells of failovers as they happen: a master that
was cut off, or frozen, may go on answering for a while, and must not be read from. A server that answers
writes with READONLY is a master no more.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from stoker.core.background import spawn
from stoker.core.errors import LinkError, ReplyError
from stoker.core.link.connecting import ask, open_transport
from stoker.core.link.link import Link
from stoker.core.link.routing import Address
from stoker.core.settings.addresses import Servers

logger = logging.getLogger(__name__)

#: Seconds between attempts to reach a sentinel that tells of failovers.
LISTEN_AGAIN_SECONDS = 1.0

#: A sentinel that tells of failovers is asked so often whether it is still there, in seconds.
LISTEN_SECONDS = 5.0


class SentinelLink(Link):
    """A link that finds its server through sentinels.

    Args:
        url: `redis+sentinel://…`, as `check_redis_url` returns it.
        connect_timeout: Seconds that asking the sentinels, and connecting, may take each.
        timeout: Seconds without any reply within which callers are told.
    """

    def __init__(self, url: str, *, connect_timeout: float = 0.5, timeout: float = 0.1) -> None:
        super().__init__(url, connect_timeout=connect_timeout, timeout=timeout)
        self._servers = Servers.of(url)
        self._master: Address | None = None
        self._told: Address | None = None
        """The master, as a sentinel told since the connection was opened."""
        self._listener: asyncio.Task[None] | None = None

    async def connect(self) -> bool:
        """Start keeping the connection; wait for the first attempt and say whether it served."""
        if self._listener is None:
            self._listener = spawn(self._listen(), "stoker-sentinel")
        return await super().connect()

    async def close(self) -> None:
        """Stop keeping the connection and fail what is under way."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
            self._listener = None
        await super().close()

    async def open_another(self) -> tuple[Any, asyncio.Transport]:
        """Open a further connection to the master, for what blocks or listens."""
        master = self._master or await self._find()
        return await open_transport(self._servers.at(*master), self.connect_timeout)

    async def _open(self) -> None:
        self._told = None
        self._master = await self._find()
        await super()._open()

    async def _greet(self) -> None:
        role = await self.call_early("ROLE")
        if role[0] != b"master":
            raise LinkError("the server that the sentinels name is no master yet")
        await super()._greet()
        if self._told not in {None, self._master}:
            raise LinkError("another server has become the master")

    def _make_error(self, text: str) -> ReplyError:
        if text.startswith("READONLY"):
            asyncio.get_running_loop().call_soon(self._leave, "the server is a replica now")
        return ReplyError(text)

    def _leave(self, reason: str) -> None:
        if self._wire is not None:
            self._drop(reason)

    # -- sentinels --------------------------------------------------------------------------------

    async def _find(self) -> Address:
        """Where the master is, by the newest knowledge of all sentinels that answer.

        Raises:
            LinkError: None of them answers, or knows the name.
        """
        answers = await asyncio.gather(*(self._ask(*place) for place in self._servers.hosts))
        known = [answer for answer in answers if isinstance(answer, tuple)]
        if not known:
            reasons = "; ".join(dict.fromkeys(str(answer) for answer in answers))
            raise LinkError(f"no sentinel says where {self._servers.service} is: {reasons}")
        return max(known)[1]

    async def _ask(self, host: str, port: int) -> tuple[int, Address] | LinkError:
        """What one sentinel knows: how new it is (its configuration's epoch), and where the master is."""
        url = self._servers.sentinel_at(host, port)
        try:
            reply = await ask(url, self.connect_timeout, "SENTINEL", "MASTER", self._servers.service)
            fields = dict(zip(reply[::2], reply[1::2], strict=True))
            return int(fields[b"config-epoch"]), (fields[b"ip"].decode(), int(fields[b"port"]))
        except (LinkError, ReplyError, KeyError, ValueError) as error:
            return LinkError(f"{host}:{port}: {error}")

    async def _listen(self) -> None:
        """Drop the connection as soon as a sentinel tells that another server is the master."""
        turn = 0
        while True:
            host, port = self._servers.hosts[turn % len(self._servers.hosts)]
            turn += 1
            client: Any = redis.asyncio.Redis.from_url(
                self._servers.sentinel_at(host, port),
                protocol=2,
                socket_timeout=None,
                socket_connect_timeout=self.connect_timeout,
                retry=Retry(NoBackoff(), 0),
            )
            try:
                async with client.pubsub() as channel:
                    await channel.subscribe("+switch-master")
                    await self._compare()  # what was told before nobody listened to
                    await self._hear(channel)
            except (RedisError, OSError, TimeoutError, LinkError) as error:
                logger.debug("action=sentinel_lost host=%s port=%d reason=%s", host, port, error)
            finally:
                await client.aclose()
            await asyncio.sleep(LISTEN_AGAIN_SECONDS / len(self._servers.hosts))

    async def _hear(self, channel: Any) -> None:
        waiting = False
        while True:
            message = await channel.get_message(ignore_subscribe_messages=True, timeout=LISTEN_SECONDS)
            if message is None:
                if waiting:
                    raise LinkError("it does not answer any more")
                await channel.ping()
                waiting = True
                continue
            waiting = False
            if message["type"] == "message":
                words = cast("bytes", message["data"]).decode(errors="replace").split(" ")
                if words[0] == self._servers.service:
                    await self._compare()

    async def _compare(self) -> None:
        """Leave a server that is not the master any more."""
        self._told = master = await self._find()
        if self._master != master:
            self._leave(f"the master is {master[0]}:{master[1]} now")
