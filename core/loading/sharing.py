"""Which results may be handed to several callers at once."""

from __future__ import annotations

import sys
from typing import Any

from stoker.core.entries.codec import UnstorableError, encode_value
from stoker.core.settings.policy import Policy


def is_shareable(value: Any, policy: Policy) -> bool:
    """Whether all who wait for a load that was not stored may have its result.

    What has no stored form may be good for one use, as a generator, a response that streams or a file is.
    """
    if value is None:
        return True
    unbounded = policy.model_copy(update={"max_entry": sys.maxsize, "compression": "none"})
    try:
        encode_value(value, unbounded)
    except UnstorableError:
        return False
    return True
