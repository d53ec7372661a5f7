"""The receiving end of a connection: replies are matched to those who wait for them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from stoker.core.errors import LinkError, ReplyError
from stoker.core.link.driver import Reader

logger = logging.getLogger(__name__)

Handler = Callable[[Any], None]

T = TypeVar("T")


def settle(future: asyncio.Future[T], value: T) -> None:
    """Give a future its result, if somebody still waits to hear it."""
    if not future.done():
        future.set_result(value)


def tell(handler: Handler, reply: Any) -> None:
    """Hand a reply over; a handler that raises costs whoever calls nothing."""
    try:
        handler(reply)
    except asyncio.InvalidStateError:
        pass  # whoever asked has given up
    except Exception:  # a fault of ours, said here
        logger.exception("action=reply_handler_error", extra={"action": "reply_handler_error"})


class Wire(asyncio.Protocol):
    """Matches replies to handlers, in order, inside the read callback.

    Args:
        lost: Called when the connection is gone, or what comes can't be trusted.
        make_error: Makes an error reply out of its text; called as the reply is read.
    """

    def __init__(self, lost: Callable[[], None], make_error: Callable[[str], ReplyError]) -> None:
        self.reader = Reader(replyError=make_error, protocolError=LinkError)
        self.handlers: deque[Handler] = deque()
        self.received = 0
        """Times data came: a large reply that is still coming is no silence."""
        self._lost = lost
        self._complained = False

    def data_received(self, data: bytes) -> None:
        """Hand over what has come in full."""
        reader, handlers = self.reader, self.handlers
        self.received += 1
        try:
            reader.feed(data)
            reply = reader.gets()
            while reply is not False:
                handler = handlers.popleft()
                try:
                    handler(reply)
                except asyncio.InvalidStateError:
                    pass  # whoever asked has given up
                except Exception as fault:  # noqa: BLE001  a fault of ours, told below
                    self._complain(fault)
                reply = reader.gets()
        except (LinkError, IndexError):
            # No server speaks so, or an answer to no question: nothing that follows can be trusted.
            self._lost()

    def fail(self, handlers: Iterable[Handler], error: LinkError) -> None:
        """Tell all of them; one that raises does not cost the others their answer."""
        for handler in handlers:
            try:
                handler(error)
            except asyncio.InvalidStateError:
                pass  # whoever asked has given up
            except Exception as fault:  # noqa: BLE001  a fault of ours, told below
                self._complain(fault)

    def _complain(self, fault: Exception) -> None:
        """Say once that a handler raised: the others' replies are no worse for it."""
        if not self._complained:
            self._complained = True
            said = {"action": "reply_handler_error"}
            logger.error("action=reply_handler_error", exc_info=fault, extra=said)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio's signature
        """Tell whoever owns the connection."""
        self._lost()
