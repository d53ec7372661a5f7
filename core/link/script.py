"""Lua scripts, sent by their digest."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

from stoker.core.errors import LinkError, ReplyError
from stoker.core.link.calls import Argument, Command, Handler
from stoker.core.link.link import Link


class Script:
    """A script from a file of this package, behind what it shares with others."""

    def __init__(self, name: str, *, after: str = "") -> None:
        folder = files("stoker.core") / "lua"
        self.text = "".join((folder / part).read_text(encoding="utf-8") for part in (after, name) if part)
        self.digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, link: Link, keys: Sequence[str | bytes], *arguments: Argument) -> Any:
        """Run it and return its reply; the server learns the text when it doesn't know the digest.

        Raises:
            LinkError: The server can't be reached or does not answer.
            ReplyError: The script failed.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.post(
            lambda head, handler: link.post((*head, len(keys), *keys, *arguments), handler),
            lambda reply: None if future.done() else future.set_result(reply),
        )
        reply = await future
        if isinstance(reply, (LinkError, ReplyError)):
            raise reply
        return reply

    def post(self, send: Callable[[Command, Handler], None], handler: Handler) -> None:
        """Queue it; the server learns the text when it doesn't know the digest.

        Args:
            send: Queues a command that begins so, with the script's keys and arguments after it.
            handler: Called with the reply, or the error.

        Raises:
            LinkError: The server can't be reached; nothing was sent.
        """

        def take(reply: Any) -> None:
            if not isinstance(reply, ReplyError) or not str(reply).startswith("NOSCRIPT"):
                handler(reply)
                return
            try:
                send(("EVAL", self.text), handler)
            except LinkError as error:
                handler(error)

        send(("EVALSHA", self.digest), take)
