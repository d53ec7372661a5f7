"""The task for callers that already speak Celery: an invalidation as a message."""

from __future__ import annotations

import json
from typing import Any

from stoker.core.errors import StokerError
from stoker.core.events import apply_events, parse_event
from stoker.tasks.runtime import AsyncTask, current_trace

#: Pauses between attempts while the log can't be appended to, in seconds: the first and the longest.
FIRST_PAUSE_SECONDS = 1
LONGEST_PAUSE_SECONDS = 30


class NotAcknowledgedError(StokerError):
    """The invalidation does not stand in the log yet: Redis is away, or refuses. It is tried again."""


class Invalidate(AsyncTask):
    """Appends to the log what an event would; tried again until it stands there. Twice is harmless."""

    name = "stoker.invalidate"
    max_retries = None
    soft_time_limit = 30.0

    async def run(self, scopes: list[dict[str, Any]], reason: str | None = None) -> dict[str, Any]:
        """Invalidate `scopes`, in the form of an event's: `[{"type": "product", "key": "42"}]`.

        Raises:
            EventError: A scope can't be read; the message names the field.
            NotAcknowledgedError: It does not stand in the log; Celery tries again.
        """
        given = {"id": current_trace(), "scopes": scopes, "source": "celery", "reason": reason}
        event = parse_event(json.dumps({name: value for name, value in given.items() if value}).encode())
        receipt = await apply_events(await self.manager(), [event])
        if not receipt.acknowledged:
            raise NotAcknowledgedError("the invalidation does not stand in the log yet; it is tried again")
        return {"log_id": receipt.log_id, "scopes": len(scopes)}

    def perform(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body; on `NotAcknowledgedError` send the message again, later and later."""
        try:
            return super().perform(*args, **kwargs)
        except (NotAcknowledgedError, TimeoutError) as error:
            pause = min(FIRST_PAUSE_SECONDS * 2 ** min(self.request.retries, 10), LONGEST_PAUSE_SECONDS)
            raise self.retry(exc=error, countdown=pause) from error
