"""`@invalidate_on_write`: a function that changes the source clears what `@cached` has stored of it.

It is done once the function has ended, whether it returned or raised: who raised may have changed the source
before, and a load that began before the change is dead by the record, whenever it ends. What is to be cleared
is worked out before the function is called, so that nothing is written whose results can't be told.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from stoker.core.decorators.arguments import ArgumentDigest, passes_on
from stoker.core.decorators.claims import Names, names_in
from stoker.core.decorators.keyed import Terms, argument_tags, check_function
from stoker.core.decorators.places import AsyncPlace, SyncPlace, keeper_of, place_of
from stoker.core.errors import UsageError
from stoker.core.keys import check_text, glob_escape, several
from stoker.core.log.scopes import Pattern, Scope, Tag, check_scope
from stoker.core.manager import CacheManager
from stoker.core.sync.manager import SyncCacheManager
from stoker.core.sync.owed import Owed
from stoker.core.sync.view import SyncCache
from stoker.core.view import Cache

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

Tags = Iterable[str] | Callable[..., Iterable[str]]
"""Tags, or what gives them: called with the arguments of the function."""


def invalidate_on_write(
    cache: AsyncPlace | SyncPlace,
    prefix: str,
    *,
    cache_type: str | None = None,
    key_params: Iterable[str] | None = None,
    tags: Tags = (),
) -> Callable[[FunctionT], FunctionT]:
    """Clear what `@cached(cache, prefix, …)` has stored when a function that writes has ended.

    One command, whatever the number of entries; awaited before the function's result is handed on.

    ```python
    @invalidate_on_write(cache, "users")
    async def update_user(user_id: int, data: dict[str, str]) -> None: ...

    @invalidate_on_write(cache, "users", key_params=["user_id"], tags=["user-lists"])
    async def rename_user(user_id: int, name: str) -> None: ...
    ```

    Args:
        cache: The cache of the functions that read. A store of your own clears by `clear_beginning`.
        prefix: Their prefix, or namespace.
        cache_type: The type of their entries; a view brings its own.
        key_params: Parameters of this function: clears the results of calls that had the same value for a
            parameter of the same name (of several, any of them), and leaves the others. A whole number or a
            UUID is the same as its text; any other value must be of the type that the reading functions are
            given. The whole prefix is cleared where none is named; by a store of your own, always; and where
            this process has functions under the prefix, none of which has a parameter of the name.
        tags: Further tags to invalidate; or what gives them, called with this function's arguments. A store
            of your own has none.

    Raises:
        UsageError: There is no type, or no such type; a parameter is named that is none, or that no function
            under the prefix has that was decorated before; tags are given for a store of your own; a tag or
            the prefix can't be written to the log; or, when the function is called and before it runs, an
            argument can't be told from others, a tag that was made of the arguments can't be written, the
            manager is of another event loop, or an event loop runs where a plain function is called.
    """
    kind, begin = place_of(cache, cache_type, "@invalidate_on_write")
    check_text("a prefix", prefix)
    terms = Terms(kind, begin, prefix)
    if key_params is not None and not prefix:
        raise UsageError(
            "key_params needs a prefix: results without one don't tell what they were called with"
        )

    own = tags if callable(tags) else _checked(tags)
    if own != [] and not isinstance(cache, CacheManager | Cache | SyncCacheManager | SyncCache):
        raise UsageError("tags: a store of your own clears by what its keys begin with; it knows no tags")
    params = None if key_params is None else tuple(several("names in key_params", key_params))
    if params == ():
        raise UsageError("key_params: name one parameter at least, or leave it out to clear the whole prefix")

    def decorate(function: FunctionT) -> FunctionT:
        check_function(function)
        digest = None if params is None else ArgumentDigest(function, params)
        scopes = _Scopes(_Named(terms, names_in(keeper_of(cache)), digest), own)
        if inspect.iscoroutinefunction(function):
            return cast("FunctionT", _async_form(function, scopes, cache))
        return cast("FunctionT", _plain_form(function, scopes, cache))

    return decorate


class _Named:
    """Results of calls with the same arguments as a call of a function that writes.

    Args:
        terms: What their keys begin with.
        names: The functions of this process that read.
        digest: Of the arguments that are looked at; None for the whole prefix.

    Raises:
        UsageError: There are functions that read, and none of them has such a parameter.
    """

    def __init__(self, terms: Terms, names: Names, digest: ArgumentDigest | None) -> None:
        self.terms = terms
        self._whole = Pattern(terms.cache_type, glob_escape(terms.beginning) + "*")
        if terms.cache_type:  # a store of one's own has none, and no log
            check_scope(self._whole)
        self._names = names
        self._digest = digest
        if unknown := self._unknown():
            known = ", ".join(sorted(self._known() or ())) or "nothing"
            raise UsageError(
                f"key_params: no result under {terms.namespace!r} is told apart by {', '.join(unknown)}, but "
                f"by {known}: name the parameters alike, or leave key_params out"
            )

    def _known(self) -> frozenset[str] | None:
        return self._names.parameters(self.terms.cache_type, self.terms.beginning)

    def _unknown(self) -> list[str]:
        """Parameters that no function that reads has; they may have been decorated since."""
        known = self._known()
        return [] if known is None or self._digest is None else sorted({*self._digest.params} - known)

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Scope]:
        terms, digest = self.terms, self._digest
        if digest is None or self._unknown():
            return [self._whole]
        return [Tag(tag) for tag in argument_tags(terms, digest.each_alike(args, kwargs))]


class _Scopes:
    """What a call of a function invalidates: all of it can be written to the log.

    Told after the call, it would be too late: the source has changed by then.
    """

    def __init__(self, named: _Named, tags: list[Scope] | Callable[..., Iterable[str]]) -> None:
        self._named = named
        self._tags = tags

    @property
    def beginning(self) -> str:
        """What the keys begin with, in the view that the decorator was given."""
        return self._named.terms.beginning.removeprefix(self._named.terms.begin)

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Scope]:
        own = _checked(self._tags(*args, **kwargs)) if callable(self._tags) else self._tags
        return [*own, *self._named(args, kwargs)]


def _checked(tags: Iterable[str]) -> list[Scope]:
    return [check_scope(Tag(tag)) for tag in several("tags", tags)]


def _async_form(
    function: Callable[..., Any], scopes: _Scopes, cache: AsyncPlace | SyncPlace
) -> Callable[..., Any]:
    if isinstance(cache, SyncCacheManager | SyncCache):
        raise UsageError(f"{function.__qualname__} is async, and this cache is not: use a CacheManager")

    manager = cache.manager if isinstance(cache, Cache) else cache

    @passes_on(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        cleared = scopes(args, kwargs)
        if isinstance(manager, CacheManager):
            manager.link.check_loop()
        try:
            return await function(*args, **kwargs)
        finally:
            if isinstance(manager, CacheManager):
                await manager.invalidate(*cleared, reason="a write")
            else:
                await manager.clear_beginning(scopes.beginning)

    return call


def _plain_form(
    function: Callable[..., Any], scopes: _Scopes, cache: AsyncPlace | SyncPlace
) -> Callable[..., Any]:
    if not isinstance(cache, SyncCacheManager | SyncCache):
        raise UsageError(f"{function.__qualname__} is a plain function: use a SyncCacheManager")
    face = cache.face if isinstance(cache, SyncCache) else cache

    @passes_on(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        cleared = scopes(args, kwargs)
        face.check_usable()
        owed = Owed(face.perform, lambda manager: manager.invalidate(*cleared, reason=function.__qualname__))
        return owed.after(lambda: function(*args, **kwargs))

    return call
