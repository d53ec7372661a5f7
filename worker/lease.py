"""The lease that makes one beat of several the leader.

It is a key with a TTL that holds the leader's token. Only its holder renews or releases it, and a holder that
can't reach the server stops believing in it before it runs out: it fails closed.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from typing import Any

import redis

from stoker.core.ownership import RELEASE, RENEW

logger = logging.getLogger(__name__)

#: The part of the TTL for which a holder believes in its lease after it asked for it.
TRUST = 0.8


class Lease:
    """One contender for a lease.

    Args:
        client: Reaches the server; its timeouts bound each call.
        name: The key.
        ttl: How long the lease outlives its holder, in seconds.
        holder: Names this contender, for people who look.
        clock: Monotonic time, in seconds.
    """

    def __init__(
        self, client: Any, name: str, ttl: float, holder: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.token = f"{holder}:{secrets.token_hex(8)}"
        self._client = client
        self._name = name
        self._ttl = ttl
        self._clock = clock
        self._trusted_until = float("-inf")
        self.reachable: bool | None = None
        """Whether the server answered when last asked; None before."""

    @property
    def held(self) -> bool:
        """Whether this contender may act as the holder, now."""
        return self._clock() < self._trusted_until

    def contend(self) -> bool:
        """Renew the lease, or take it if it is free; say whether it is held. Never raises for the server."""
        asked = self._clock()
        milliseconds = int(self._ttl * 1000)
        try:
            granted = bool(self._client.eval(RENEW.text, 1, self._name, self.token, milliseconds)) or bool(
                self._client.set(self._name, self.token, nx=True, px=milliseconds)
            )
        except redis.RedisError as error:
            if self.reachable is not False:
                logger.warning(
                    "action=lease_unreachable reason=%s", error, extra={"action": "lease_unreachable"}
                )
            self.reachable = False
            return self.held  # what was granted holds on until it may have run out
        self.reachable = True
        self._trusted_until = asked + self._ttl * TRUST if granted else float("-inf")
        return self.held

    def release(self) -> None:
        """Give the lease back, so that another needn't wait for it to run out."""
        self._trusted_until = float("-inf")
        try:
            self._client.eval(RELEASE.text, 1, self._name, self.token)
        except redis.RedisError as error:
            logger.debug("action=lease_not_released reason=%s", error)
