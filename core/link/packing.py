"""Commands as bytes, as the server reads them."""

from __future__ import annotations

from stoker.core.link.calls import Command
from stoker.core.link.driver import pack

__all__ = ["RangeOfEntry", "SetOfEntry", "pack"]


#: Keys shorter than this, in bytes, are packed the short way.
LONGEST_HEAD = 128


class RangeOfEntry:
    """Packs the `GETRANGE` that fetches an entry of one type: what almost all commands are.

    Args:
        begin: What the Redis keys of the type's entries begin with; a brace ends them.
        last: Bytes beyond this one are not fetched.
    """

    __slots__ = ("_begin", "_end", "_heads", "_last")

    def __init__(self, begin: str, last: int) -> None:
        self._begin, self._last = begin, last
        around = len(begin.encode()) + len("}")
        self._heads = [
            b"*4\r\n$8\r\nGETRANGE\r\n$%d\r\n%b" % (around + n, begin.encode()) for n in range(LONGEST_HEAD)
        ]
        """What a command begins with, by the bytes of its key."""
        self._end = b"}\r\n$1\r\n0\r\n$%d\r\n%d\r\n" % (len(str(last)), last)

    def pack(self, key: str) -> bytes:
        """The command for a key; packing it so takes a tenth of the general way."""
        name = key.encode()
        if len(name) < LONGEST_HEAD:
            return self._heads[len(name)] + name + self._end
        return pack(self.command(key))

    def command(self, key: str) -> Command:
        """The command for a key, where it is packed elsewhere."""
        return ("GETRANGE", f"{self._begin}{key}}}", 0, self._last)


class SetOfEntry:
    """Packs the `SET` that stores an entry of one type.

    Args:
        begin: What the Redis keys of the type's entries begin with; a brace ends them.
    """

    __slots__ = ("_begin", "_heads", "_ttl", "_ttl_ms")

    def __init__(self, begin: str) -> None:
        self._begin = begin
        around = len(begin.encode()) + len("}")
        self._heads = [
            b"*5\r\n$3\r\nSET\r\n$%d\r\n%b" % (around + n, begin.encode()) for n in range(LONGEST_HEAD)
        ]
        self._ttl_ms, self._ttl = 0, b""

    def pack(self, key: str, head: bytes, payload: bytes, ttl_ms: int) -> bytes:
        """The command that stores what has this head and this payload; they are copied once."""
        name = key.encode()
        if len(name) >= LONGEST_HEAD:
            return pack(("SET", f"{self._begin}{key}}}", head + payload, "PX", ttl_ms))
        if ttl_ms != self._ttl_ms:  # without jitter, the last one's
            self._ttl_ms, self._ttl = ttl_ms, b"\r\n$2\r\nPX\r\n$%d\r\n%d\r\n" % (len(str(ttl_ms)), ttl_ms)
        size = b"}\r\n$%d\r\n" % (len(head) + len(payload))
        return b"".join((self._heads[len(name)], name, size, head, payload, self._ttl))
