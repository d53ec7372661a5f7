"""What a face without `await` is made of: methods of something async, carried out on its event loop."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from stoker.core.sync.owed import surely

P = ParamSpec("P")
R = TypeVar("R")


class Face(ABC):
    """What has the methods of something async, without `await`."""

    @abstractmethod
    def apply(
        self,
        method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """Have the async counterpart of this face carry out one of its methods."""


def plain(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Any, P], R]:
    """Return an async method as one of a face."""

    def call(self: Face, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.apply(method, *args, **kwargs)

    functools.update_wrapper(call, method)
    return call


def owed(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Any, P], R]:
    """As `plain`, of a method that does what it is called for even if its caller is interrupted."""

    def call(self: Face, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return surely(self.apply, lambda target: method(target, *args, **kwargs))

    functools.update_wrapper(call, method)
    return call
