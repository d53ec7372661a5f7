"""Commands as bytes, as the server reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import hiredis

from stoker.core.calls import Command

pack = cast("Callable[[Any], bytes]", hiredis.pack_command)


class RangeOfEntry:
    """Packs the `GETRANGE` that fetches an entry of one type: what almost all commands are.

    Args:
        begin: What the Redis keys of the type's entries begin with; a brace ends them.
        last: Bytes beyond this one are not fetched.
    """

    __slots__ = ("_around", "_begin", "_end", "_last", "_name")

    def __init__(self, begin: str, last: int) -> None:
        self._name, self._last = begin, last
        self._around = len(begin.encode()) + len("}")
        self._begin = f"\r\n{begin}"
        self._end = f"}}\r\n$1\r\n0\r\n${len(str(last))}\r\n{last}\r\n"

    def pack(self, key: str) -> bytes:
        """The command for a key; packing it so takes a tenth of the general way."""
        length = self._around + (len(key) if key.isascii() else len(key.encode()))
        return f"*4\r\n$8\r\nGETRANGE\r\n${length}{self._begin}{key}{self._end}".encode()

    def command(self, key: str) -> Command:
        """The command for a key, where it is packed elsewhere."""
        return ("GETRANGE", f"{self._name}{key}}}", 0, self._last)
