"""Functions whose results are cached: async ones, and plain ones for callers without an event loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, cast, overload

from stoker.core.decorators.answering import Answering, Hit, ManagerAnswering
from stoker.core.decorators.keyed import Keyed, Terms, bind
from stoker.core.entries.codec import MISSING
from stoker.core.loading.loaders import Loader, returned_by
from stoker.core.log.fleet_log import Receipt
from stoker.core.manager import CacheManager
from stoker.core.sync.handover import async_form
from stoker.core.sync.home import Perform
from stoker.core.sync.owed import surely

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


def _no_memory(cache_type: str, key: str, into: Any) -> Any:  # noqa: ARG001
    return MISSING


class CachedFunction(Keyed[P], Generic[P, R]):
    """An async function whose results are cached: it is called as before.

    As a method of a class it is bound to the instance, as functions are. The instance then is an argument
    like others: it tells calls apart by its fields or its `__cache_key__`, unless it is ignored.
    """

    __slots__ = ("_answering", "_hit", "_into", "_type")

    def __init__(
        self,
        function: Callable[P, Awaitable[Any]],
        terms: Terms,
        answering: Callable[[Loader], Answering],
        place: Any,
    ) -> None:
        super().__init__(function, terms, place)
        self._type = terms.cache_type
        self._answering = answering(self._spec(function))
        self._hit: Hit = _no_memory
        self._into: Any = MISSING
        """What results are decoded into; known once the function was called: its annotation may name what is
        defined below it."""

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the result for the arguments, from the cache where it is there.

        Raises:
            UsageError: An argument can't be told from others.
            Exception: Whatever the function raises.
        """
        key = self._key(args, kwargs)
        found = self._hit(self._type, key, self._into)
        if found is MISSING:
            found = await self._answering.read(key, args, kwargs)
            if self._into is MISSING:
                self._into = returned_by(self._function)
                self._hit = self._answering.hit() or _no_memory
        value: R = found
        return value

    async def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        """Invalidate the result for the arguments.

        Raises:
            UsageError: An argument can't be told from others.
        """
        return await self._answering.invalidate(self.key(*args, **kwargs))

    async def invalidate_all(self) -> Receipt:
        """Invalidate the results for all arguments, with one command."""
        return await self._answering.invalidate_beginning(self._prefix)

    @overload
    def __get__(self, instance: None, owner: type[Any], /) -> Self: ...

    @overload
    def __get__(
        self: CachedFunction[Concatenate[T, Q], S], instance: T, owner: type[T] | None = None, /
    ) -> CachedFunction[Q, S]: ...

    def __get__(self, instance: Any, owner: Any = None, /) -> Any:
        """Bind it to an instance, as functions are."""
        return self if instance is None else _Bound(self, instance)


class _Bound(CachedFunction[P, R]):
    """A cached method of an instance."""

    def __init__(self, method: CachedFunction[Any, R], instance: Any) -> None:  # pyright: ignore[reportMissingSuperCall]
        bind(method, self, instance)
        self._method = method
        self._instance = instance

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._method(self._instance, *args, **kwargs)

    def key(self, /, *args: P.args, **kwargs: P.kwargs) -> str:
        return self._method.key(self._instance, *args, **kwargs)

    async def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        return await self._method.invalidate(self._instance, *args, **kwargs)

    async def invalidate_all(self) -> Receipt:
        return await self._method.invalidate_all()

    def __reduce__(self) -> Any:
        """As methods are: by their name in the instance."""
        return getattr, (self._instance, self.__name__)

    def __repr__(self) -> str:
        return f"<bound {self._method!r}>"


class SyncCachedFunction(Keyed[P], Generic[P, R]):
    """A plain function whose results are cached: it is called as before, from any thread."""

    def __init__(self, function: Callable[P, Any], terms: Terms, perform: Perform, place: Any) -> None:
        super().__init__(function, terms, place)
        self._perform = perform
        self._loader = self._spec(async_form(function))
        self._last: ManagerAnswering | None = None

    def _answering(self, manager: CacheManager) -> ManagerAnswering:
        found = self._last
        if found is None or found.manager is not manager:
            found = self._last = ManagerAnswering(manager, self._loader)
        return found

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the result for the arguments, from the cache where it is there.

        Raises:
            UsageError: An argument can't be told from others.
            Exception: Whatever the function raises.
        """
        key = self._key(args, kwargs)
        found = self._perform(lambda manager: self._answering(manager).answer(key, args, kwargs))
        return cast("R", found)

    def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        """Invalidate the result for the arguments.

        Raises:
            UsageError: An argument can't be told from others.
        """
        key = self.key(*args, **kwargs)
        return surely(self._perform, lambda manager: self._answering(manager).invalidate(key))

    def invalidate_all(self) -> Receipt:
        """Invalidate the results for all arguments, with one command."""
        return surely(
            self._perform, lambda manager: self._answering(manager).invalidate_beginning(self._prefix)
        )

    @overload
    def __get__(self, instance: None, owner: type[Any], /) -> Self: ...

    @overload
    def __get__(
        self: SyncCachedFunction[Concatenate[T, Q], S], instance: T, owner: type[T] | None = None, /
    ) -> SyncCachedFunction[Q, S]: ...

    def __get__(self, instance: Any, owner: Any = None, /) -> Any:
        """Bind it to an instance, as functions are."""
        return self if instance is None else _SyncBound(self, instance)


class _SyncBound(SyncCachedFunction[P, R]):
    """A cached plain method of an instance."""

    def __init__(self, method: SyncCachedFunction[Any, R], instance: Any) -> None:  # pyright: ignore[reportMissingSuperCall]
        bind(method, self, instance)
        self._method = method
        self._instance = instance

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._method(self._instance, *args, **kwargs)

    def key(self, /, *args: P.args, **kwargs: P.kwargs) -> str:
        return self._method.key(self._instance, *args, **kwargs)

    def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        return self._method.invalidate(self._instance, *args, **kwargs)

    def invalidate_all(self) -> Receipt:
        return self._method.invalidate_all()

    def __reduce__(self) -> Any:
        """As methods are: by their name in the instance."""
        return getattr, (self._instance, self.__name__)

    def __repr__(self) -> str:
        return f"<bound {self._method!r}>"
