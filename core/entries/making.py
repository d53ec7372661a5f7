"""Making entries of values: encoded, stamped, with their time to live."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping
from typing import Any

from stoker.core.counters import Counters
from stoker.core.entries.codec import UnstorableError, encode_value
from stoker.core.entries.entry import FLAG_NONE, Entry, pack_head
from stoker.core.entries.vouching import Vouched
from stoker.core.log.knowledge import Log
from stoker.core.settings.policy import Policy

logger = logging.getLogger(__name__)

#: Kinds of values that are logged as unstorable; of further ones, the counter alone tells.
MAX_KINDS_LOGGED = 1_000


class EntryMaker:
    """Makes entries under the policies of their types."""

    def __init__(self, types: Mapping[str, Policy], log: Log, counters: Counters) -> None:
        self._types = types
        self._log = log
        self._counters = counters
        self._unstorable: set[tuple[str, str]] = set()

    def make(
        self, cache_type: str, value: Any, tags: tuple[bytes, ...], epoch: int, born: int, ttl: float | None
    ) -> Entry | None:
        """Make an entry of a value; None when it can't be stored."""
        policy = self._types[cache_type]
        encoded: tuple[int, bytes] | None = (FLAG_NONE if value is None else 0, b"")
        if policy.in_redis or policy.memory_copies:
            encoded = self._encode(cache_type, value, policy)
        if encoded is None:
            return None
        flags, payload = encoded
        now, ttl_ms = int(time.time() * 1000), self._ttl_ms(policy, value, ttl)
        return Entry(epoch, born, now, now + ttl_ms, flags, tags, payload)

    def make_vouched(
        self,
        cache_type: str,
        key: str,
        value: Any,
        tags: tuple[bytes, ...],
        ttl: float | None,
        policy: Policy,
    ) -> Vouched | None:
        """Make an entry of a value that is vouched for now; None when it can't be stored."""
        encoded = self._encode(cache_type, value, policy)
        if encoded is None:
            return None
        log, (flags, payload) = self._log, encoded
        epoch, born = log.epoch, log.seen
        now, ttl_ms = int(time.time() * 1000), self._ttl_ms(policy, value, ttl)
        head = pack_head(flags, epoch, born, now, now + ttl_ms, tags)
        return cache_type, key, epoch, born, head, payload, kept_ms(policy, ttl_ms)

    def _encode(self, cache_type: str, value: Any, policy: Policy) -> tuple[int, bytes] | None:
        """Return flags and payload of a value; None when it can't be stored."""
        try:
            return encode_value(value, policy)
        except UnstorableError as error:
            self.refuse(cache_type, value, error)
            return None

    def refuse(self, cache_type: str, value: Any, error: UnstorableError) -> None:
        """Count a value that can't be stored; one line for each kind of value, not one for each value."""
        self._counters.of(cache_type).unstorable += 1
        kind = (cache_type, type(value).__name__)
        if kind not in self._unstorable and len(self._unstorable) < MAX_KINDS_LOGGED:
            self._unstorable.add(kind)
            logger.warning(
                "action=unstorable cache_type=%s reason=%s", cache_type, error, extra={"action": "unstorable"}
            )

    @staticmethod
    def _ttl_ms(policy: Policy, value: Any, ttl: float | None) -> int:
        """How long a value is fresh, with its jitter, in milliseconds: one at least."""
        seconds = ttl if ttl is not None else policy.ttl
        if ttl is None and value is None and policy.negative_ttl is not None:
            seconds = policy.negative_ttl
        if policy.jitter:
            seconds *= 1 - policy.jitter * random.random()  # noqa: S311  no secret, only spread
        return int(seconds * 1000) or 1


def kept_ms(policy: Policy, ttl_ms: int) -> int:
    """Milliseconds after which the server drops what is fresh for so many."""
    return ttl_ms + int(policy.kept_stale * 1000) if policy.stale or policy.fail_safe else ttl_ms
