"""Commands for several servers: the replies come in any order, and are put in their places."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from stoker.core.errors import LinkError, ReplyError
from stoker.core.link.calls import Command, Handler
from stoker.core.link.link import Link
from stoker.core.link.routing import split


class JoiningLink(Link):
    """A link to several servers, of which some may be away while others answer."""

    @abstractmethod
    def post_one(self, command: Command, handler: Handler) -> None:
        """Queue a command that one server can answer."""

    def post(self, command: Command, handler: Handler) -> None:
        """Queue a command for the server that its key belongs to; without one, for the log's.

        `MGET`, `UNLINK` and others that name nothing but keys are sent once for each of several; their
        replies are made one. `handler` is called inside a read callback.

        Raises:
            LinkError: The log's server is away, or the key's; nothing was sent.
        """
        parts = split(command)
        if parts is None:
            self.post_one(command, handler)
            return
        commands, join = parts

        def take(replies: list[Any]) -> None:
            failed = [reply for reply in replies if isinstance(reply, (LinkError, ReplyError))]
            handler(failed[0] if failed else join(replies))

        self._post_all(commands, take)

    def gather(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Queue commands for their servers; the future gets all replies, errors in their places.

        A server that is away is a `ReplyError` in the places of its own keys.

        Raises:
            LinkError: The log's server is away; nothing was sent.
        """
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

        def take(replies: list[Any]) -> None:
            if not future.done():
                future.set_result(
                    [ReplyError(str(one)) if isinstance(one, LinkError) else one for one in replies]
                )

        self._post_all(commands, take)
        return future

    async def calls(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands to their servers; an error reply stands in its place in the list.

        Raises:
            LinkError: One of the servers can't be reached or does not answer.
        """
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._post_all(commands, lambda replies: None if future.done() else future.set_result(replies))
        replies = await future
        for reply in replies:
            if isinstance(reply, LinkError):
                raise reply
        return replies

    def _post_all(self, commands: Sequence[Command], take: Callable[[list[Any]], None]) -> None:
        """Post commands, and hand over all replies in their order, errors among them."""
        if not self.ready:
            self.post_one(("PING",), lambda _: None)  # raises, and says why
        replies: list[Any] = [None] * len(commands)
        left = len(commands)

        def place(at: int) -> Handler:
            def settle(reply: Any) -> None:
                nonlocal left
                replies[at] = reply
                left -= 1
                if not left:
                    take(replies)

            return settle

        for at, command in enumerate(commands):
            settle = place(at)
            try:
                self.post(command, settle)
            except LinkError as error:
                settle(error)
        if not commands:
            take(replies)
