"""Where an older cache keeps its entries: their bytes, what these mean, and their removal."""

from __future__ import annotations

import contextlib
import math
import zlib
from collections.abc import Callable
from typing import Any, Literal

from stoker.core.entries.codec import as_read, decode_payload
from stoker.core.entries.entry import make_flags
from stoker.core.errors import EntryError, LinkError, UsageError
from stoker.core.link.link import Link
from stoker.core.link.script import Script
from stoker.core.linking import make_link
from stoker.core.manager import CacheManager
from stoker.core.settings.addresses import check_redis_url
from stoker.core.settings.config import RedisConfig

Decode = Literal["json", "zlib", "text", "bytes"] | Callable[[bytes], Any]

_JSON = make_flags("json", "none", is_none=False)


class OldServer:
    """The server of an older cache, which may be the manager's own.

    Args:
        manager: The cache.
        url: Where it is; None: the manager's server and database.

    Raises:
        UsageError: The URL can't be used, or the manager has no server.
    """

    def __init__(self, manager: CacheManager, url: str | None) -> None:
        ours = manager.config.redis
        if url is None and not ours.enabled:
            raise UsageError("url: this cache has no server of its own: say where the old entries are")
        self._manager = manager
        self._own_link = None if url is None else _link_to(url, manager)
        self._own_prefix = f"{manager.config.prefix}:" if url is None or url == ours.url else None
        self._unlink = Script("unlink_unreadable.lua")

    def is_ours(self, name: str) -> bool:
        """Whether a name is one of those that Stoker itself uses."""
        return self._own_prefix is not None and name.startswith(self._own_prefix)

    async def close(self) -> None:
        """Close the connection, where it is not the manager's."""
        if self._own_link is not None:
            await self._own_link.close()

    async def fetch(self, name: str, most: int) -> tuple[bytes, float] | None:
        """The bytes of an old entry, `most` and one at most, and the seconds it has left.

        None where it is not there, of another kind, or out of reach.
        """
        try:
            link = await self._link()
            data, left_ms = await link.calls([("GETRANGE", name, 0, most), ("PTTL", name)])
            if data == b"" and left_ms != -2:
                # Empty; or not there at first, and written between the two: only this tells.
                (data,) = await link.calls([("GET", name)])
                if data != b"":
                    return None
        except LinkError:
            return None
        if not isinstance(data, bytes) or not isinstance(left_ms, int) or left_ms in {-2, 0}:
            return None
        return data, math.inf if left_ms < 0 else left_ms / 1000

    def remove(self, name: str, data: bytes) -> None:
        """Remove an old entry, if its bytes are still those; what an older process wrote since stays."""
        link = self._own_link or self._manager.link

        def send(head: tuple[Any, ...], handler: Callable[[Any], None]) -> None:
            link.post((*head, 1, name, data, len(data)), handler)

        with contextlib.suppress(LinkError):  # else it expires by itself
            self._unlink.post(send, _ignore)

    async def _link(self) -> Link:
        if self._own_link is None:
            return self._manager.link
        if not self._own_link.connections:
            await self._own_link.connect()
        return self._own_link


def decode_old(decode: Decode, data: bytes, into: Any, most: int) -> Any:
    """Return the value that an old entry's bytes stand for.

    Raises:
        EntryError: They are more than `most`, or stand for no value of that type.
        UnstorableError: They stand for what can't be stored.
        Exception: What a function of the user's raises.
    """
    if len(data) > most:
        raise EntryError(f"more than {most} bytes")
    if callable(decode):
        return as_read(decode(data), into)
    if decode == "bytes":
        return as_read(data, into)
    if decode == "text":
        return as_read(data.decode(), into)
    if decode == "zlib" and data[:1] == b"\x78":  # no JSON begins so
        expander = zlib.decompressobj()
        data = expander.decompress(data, most)
        if not expander.eof:
            raise EntryError(f"cut off, or decompresses to more than {most} bytes")
    return decode_payload(_JSON, data, into, most)


def _link_to(url: str, manager: CacheManager) -> Link:
    ours = manager.config.redis
    try:
        checked = check_redis_url(url)
    except (ValueError, AttributeError, TypeError) as error:
        # What is no text has no parts; what is one is told without its password.
        reason = str(error) if isinstance(error, ValueError) else f"a text, not {type(url).__name__}"
        raise UsageError(f"url: {reason}") from None
    there = RedisConfig(url=checked, connect_timeout=ours.connect_timeout, timeout=ours.timeout)
    return make_link(there, manager.keys)


def _ignore(_reply: Any) -> None:
    """It was there, or it was gone, or is another by now."""
