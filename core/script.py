"""Lua scripts, sent by their digest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from stoker.core.errors import ReplyError
from stoker.core.link import Argument, Link


class Script:
    """A script from a file of this package."""

    def __init__(self, name: str) -> None:
        self.text = (files("stoker.core") / name).read_text(encoding="utf-8")
        self.digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, link: Link, keys: Sequence[str | bytes], *arguments: Argument) -> Any:
        """Run it and return its reply; the server learns the text when it doesn't know the digest.

        Raises:
            LinkError: The server can't be reached or does not answer.
            ReplyError: The script failed.
        """
        try:
            return await link.call("EVALSHA", self.digest, len(keys), *keys, *arguments)
        except ReplyError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
        return await link.call("EVAL", self.text, len(keys), *keys, *arguments)
