"""Conditional reload: a loader that finds its source unchanged says so instead of sending the value again.

```python
@loader("shop.page", cache_type="page")
async def load_page(url: str) -> Page | NotModified:
    old = previous()
    headers = {} if old is None else {"If-None-Match": old.value.etag}
    answer = await client.get(url, headers=headers)
    return NOT_MODIFIED if answer.status_code == 304 else Page(answer.text, answer.headers["etag"])
```

What is kept so is born where *this* load began, not where the old one did and not at the log's end: an
invalidation that arrives while the source is asked kills it. Only what is alive is offered: neither an
invalidated value nor one from before the log lost its history comes back to life so.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final


class NotModified(enum.Enum):
    """What a loader answers, beside its values, when the value that is stored is still right."""

    NOT_MODIFIED = "not modified"


NOT_MODIFIED: Final = NotModified.NOT_MODIFIED
"""The loader's answer: keep what `previous()` gives."""


@dataclass(frozen=True, slots=True)
class Previous:
    """What is stored while a loader runs."""

    value: Any
    """As the loader's annotation says."""
    age: float
    """Seconds since it was stored."""
    tags: tuple[str, ...]


class Offer:
    """The previous value of one load, decoded when it is first asked for."""

    __slots__ = ("_find", "_found", "_known")

    def __init__(self, find: Callable[[], Previous | None]) -> None:
        self._find = find
        self._known = False
        self._found: Previous | None = None

    def take(self) -> Previous | None:
        """The previous value, None where there is none that can be used."""
        if not self._known:
            self._known, self._found = True, self._find()
        return self._found

    def end(self) -> None:
        """The load has ended: nothing is offered any more, nor held by timers that its task has left."""
        self._known, self._found, self._find = True, None, _nothing


def _nothing() -> None: ...


_offer: ContextVar[Offer | None] = ContextVar("stoker_previous", default=None)


def offer(found: Offer) -> None:
    """Offer a previous value to the loader that this task is about to call."""
    _offer.set(found)


def previous() -> Previous | None:
    """What is stored for the key that is being loaded: for the source to say whether it is still right.

    None outside of a load, and where nothing alive is stored.
    """
    found = _offer.get()
    return None if found is None else found.take()
