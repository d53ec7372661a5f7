"""Corrupt entries are removed when they are met: bytes that no process can read only take up memory.

Only if they are still those bytes, and never what somebody may read: an entry of a newer version of the
format, or one that is larger than this process's policy allows.
"""

from __future__ import annotations

import hashlib
import logging
from importlib.resources import files
from typing import Any

from stoker.core.codec import decode_payload
from stoker.core.compression import is_damaged
from stoker.core.entry import COMPRESSION_MASK, MAGIC, VERSION, compression_of, unpack_entry
from stoker.core.errors import EntryError, LinkError
from stoker.core.keys import Keys
from stoker.core.link import Link
from stoker.core.throttle import Throttle

logger = logging.getLogger(__name__)

#: Seconds between log lines on corrupt entries of one type.
LOG_EVERY_SECONDS = 60.0

_UNLINK = (files("stoker.core") / "unlink_corrupt.lua").read_text(encoding="utf-8")


class Mending:
    """Removes corrupt entries.

    Args:
        link: The connection.
        keys: Names the entries.
        active: Whether anything may be removed; else it does nothing.
    """

    def __init__(self, link: Link, keys: Keys, *, active: bool = True) -> None:
        self._link = link
        self._keys = keys
        self._active = active
        self._told = Throttle()

    def mend(self, cache_type: str, key: str, data: bytes, max_entry: int) -> None:
        """Have an entry removed if its bytes are corrupt; nobody waits for that."""
        if not self._active or not data or not is_corrupt(data, max_entry):
            return
        digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        try:
            self._link.post(("EVAL", _UNLINK, 1, self._keys.entry(cache_type, key), digest), _ignore)
        except LinkError:
            return  # whoever meets it next tries again
        if not self._told.holds((cache_type, "")):
            self._told.hold((cache_type, ""), LOG_EVERY_SECONDS)
            said = {"action": "corrupt_entry", "cache_type": cache_type}
            logger.warning("action=corrupt_entry cache_type=%s bytes=%d", cache_type, len(data), extra=said)


def is_corrupt(data: bytes, max_entry: int) -> bool:
    """Whether stored bytes are no entry that any process could read.

    A value of another shape than somebody asks for is not corrupt, nor one that is larger than `max_entry`.
    """
    if data[:2] == MAGIC and data[2:3] > bytes((VERSION,)):
        return False
    try:
        entry = unpack_entry(data)
        if entry.flags & COMPRESSION_MASK:
            return is_damaged(entry.payload, compression_of(entry.flags), max_entry)
        if len(entry.payload) <= max_entry and not entry.is_none:
            decode_payload(entry.flags, entry.payload, Any, max_entry)
    except EntryError:
        return True
    return False


def _ignore(_reply: Any) -> None:
    """It is gone, or it is another entry now."""
