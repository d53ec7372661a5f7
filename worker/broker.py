"""How Celery reaches its broker: it comes back to one that was away within seconds."""

from __future__ import annotations

from typing import Any, cast

from celery.app.amqp import AMQP
from kombu.connection import Connection

#: Pauses between attempts to connect, in seconds: the first, how much longer each is, and the longest.
FIRST_PAUSE_SECONDS = 0.5
LONGER_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 3.0


class BrokerConnection(Connection):
    """A connection whose attempts are `LONGEST_PAUSE_SECONDS` apart at most; kombu's own are up to 30 s."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Connect, trying again as often as asked."""
        pauses = {
            "interval_start": FIRST_PAUSE_SECONDS,
            "interval_step": LONGER_SECONDS,
            "interval_max": LONGEST_PAUSE_SECONDS,
        }
        return cast("Any", super()).ensure_connection(*args, **{**pauses, **kwargs})


class BrokerAMQP(AMQP):  # type: ignore[misc]
    """Celery's messaging over such connections."""

    Connection = BrokerConnection
