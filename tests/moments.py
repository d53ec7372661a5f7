"""Time limits that fall at each moment of some code."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator, Iterator
from typing import Any


class TimeLimit(Exception):  # noqa: N818  as Celery's SoftTimeLimitExceeded
    pass


class Moments:
    """The moments at which a signal may be handled in some files, one after the other.

    That is where a function begins, and after a call of one that is not Python.

    Args:
        files: The names that the files end with.
    """

    def __init__(self, *files: str) -> None:
        self.moment = 0
        self._files = files
        self._left = 0

    def __iter__(self) -> Iterator[int]:
        """Number them until there are no more."""
        while self._left <= 0:
            self.moment += 1
            yield self.moment

    @contextlib.contextmanager
    def raising_there(self) -> Generator[None]:
        """Have the time limit fall at this moment of a block, which it passes through."""
        self._left, before = self.moment, sys.getprofile()
        sys.setprofile(self._profile)
        try:
            yield
        except TimeLimit:
            return
        finally:
            sys.setprofile(before)
        assert self._left > 0, "the time limit was swallowed"

    def _profile(self, frame: Any, event: str, _: object) -> None:
        if event in {"call", "c_return"} and frame.f_code.co_filename.endswith(self._files):
            self._left -= 1
            if not self._left:
                raise TimeLimit
