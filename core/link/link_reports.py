"""What a link says of itself: one line per change of state."""

from __future__ import annotations

import logging

from stoker.core.settings.redaction import redact_url

logger = logging.getLogger(__name__)


class LinkReports:
    """Tells when a link goes down and when it is back.

    Attributes:
        down: Whether it was said to be down, and not to be back since.
    """

    def __init__(self, url: str) -> None:
        self._url = redact_url(url)
        self.down = False

    def tell_down(self, reason: str) -> None:
        """Say that it does not serve, and why."""
        if not self.down:
            self.down = True
            said = {"action": "link_down"}
            logger.warning("action=link_down url=%s reason=%s", self._url, reason, extra=said)

    def tell_up(self) -> None:
        """Say that it serves again, if it was said not to."""
        if self.down:
            self.down = False
            logger.warning("action=link_up url=%s", self._url, extra={"action": "link_up"})
