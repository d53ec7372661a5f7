"""Commands as bytes, as the server reads them."""

from __future__ import annotations

from stoker.core.driver import pack

__all__ = ["pack", "pack_range"]

#: `GETRANGE` of a key from its first byte; packing it so takes a tenth of the general way.
_GET_RANGE = b"*4\r\n$8\r\nGETRANGE\r\n$%d\r\n%b\r\n$1\r\n0\r\n$%d\r\n%b\r\n"


def pack_range(name: str, last: int) -> bytes:
    """`GETRANGE` of a key's bytes up to `last`: what almost all reads are."""
    key, end = name.encode(), b"%d" % last
    return _GET_RANGE % (len(key), key, len(end), end)
