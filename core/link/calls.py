"""The ways in which commands are sent, all over one: to post a command and be called with its reply."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from stoker.core.errors import LinkError, ReplyError

Argument = bytes | str | int | float
Command = tuple[Argument, ...]
Handler = Callable[[Any], None]

#: Keys that one step of a scan asks for.
SCAN_COUNT = 1_000


class Calls(ABC):
    """Sends commands; `post` says how."""

    @abstractmethod
    def post(self, command: Command, handler: Handler) -> None:
        """Queue a command; `handler` is called with the reply (or error) inside the read callback.

        Raises:
            LinkError: The server can't be reached; nothing was sent.
        """

    def send(self, command: Command) -> asyncio.Future[Any]:
        """Queue a command for this loop turn's write; the future gets its reply.

        Raises:
            LinkError: The link is down; nothing was sent.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def settle(reply: Any) -> None:
            if future.done():
                return
            if isinstance(reply, (LinkError, ReplyError)):
                future.set_exception(reply)
            else:
                future.set_result(reply)

        self.post(command, settle)
        return future

    async def call(self, *command: Argument) -> Any:
        """Send one command and return its reply (RESP2 shapes, bytes).

        Raises:
            LinkError: The server can't be reached or does not answer.
            ReplyError: It answered with an error.
        """
        return await self.send(command)

    def gather(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Queue commands for this loop turn's write; the future gets all replies, errors in their places.

        It gets a `LinkError` when one of the replies does not come.

        Raises:
            LinkError: The link is down; nothing was sent.
        """
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        replies: list[Any] = []
        left = len(commands)

        def take(reply: Any) -> None:
            replies.append(reply)
            if isinstance(reply, LinkError):
                if not future.done():
                    future.set_exception(reply)
            elif len(replies) == left and not future.done():
                future.set_result(replies)

        try:
            for command in commands:
                self.post(command, take)
        except BaseException:
            future.cancel()  # nobody will ask for what the first of them bring
            raise
        if not commands:
            future.set_result(replies)
        return future

    async def calls(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one write; an error reply stands in its place in the list.

        Raises:
            LinkError: The server can't be reached or does not answer.
        """
        futures: list[asyncio.Future[Any]] = []
        try:
            futures.extend(self.send(command) for command in commands)
        except BaseException:  # a cancellation, too
            for future in futures:
                future.cancel()  # nobody will ask for what it brings
            raise
        replies = await asyncio.gather(*futures, return_exceptions=True)
        for reply in replies:
            if isinstance(reply, BaseException) and not isinstance(reply, ReplyError):
                raise reply
        return list(replies)

    async def each(self, *command: Argument) -> list[Any]:
        """Send one command that names no key to each server, and return their replies.

        Raises:
            LinkError: A server can't be reached.
            ReplyError: It answered with an error.
        """
        return [await self.call(*command)]

    async def scan(self, pattern: str, count: int = SCAN_COUNT) -> AsyncGenerator[list[bytes]]:
        """Walk the keys that match, in steps that never hold the server up; a key may come twice.

        Raises:
            LinkError: The server can't be reached.
            ReplyError: It refuses.
        """
        cursor = b"0"
        while True:
            cursor, names = await self.call("SCAN", cursor, "MATCH", pattern, "COUNT", count)
            if names:
                yield names
            if cursor == b"0":
                return
