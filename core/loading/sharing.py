"""Which results may be handed to several callers at once."""

from __future__ import annotations

import sys
from typing import Any

from stoker.core.entries.codec import UnstorableError, encode_value
from stoker.core.settings.policy import Policy


def is_shareable(value: Any, policy: Policy) -> bool:
    """Whether all who wait for a load that was not stored may have its result.

    What has no stored form may be good for one use, as a generator, a response that streams or a file is. A
    type in memory alone hands the very object to everybody anyway.
    """
    if value is None or not (policy.in_redis or policy.memory_copies):
        return True
    lenient = {"max_entry": sys.maxsize, "compression": "none", "serializer": "msgpack"}
    unbounded = policy.model_copy(update=lenient)
    try:
        encode_value(value, unbounded)
    except UnstorableError:
        return False
    return True
