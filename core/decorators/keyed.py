"""What all decorated functions have: they look like what they were, and each call has a key."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any, Generic, ParamSpec, cast

from stoker.core.decorators.arguments import DIGEST_BYTES, ArgumentDigest
from stoker.core.decorators.claims import names_in, residence_of
from stoker.core.errors import UsageError
from stoker.core.identity import short_name_of
from stoker.core.keys import check_text, check_type_name
from stoker.core.loading.loaders import Loader, TagFunction, check_returned, register
from stoker.core.log.scopes import MAX_TAG_BYTES
from stoker.core.settings.policy import check_ttl

P = ParamSpec("P")

#: A namespace is part of keys and of tags.
MAX_NAMESPACE_BYTES = 100

#: Bytes of a tag before the digest of an argument.
MAX_BEFORE_DIGEST = MAX_TAG_BYTES - 1 - 2 * DIGEST_BYTES

#: Between the parts of a key.
SEPARATOR = ":"


@dataclass(frozen=True)
class Terms:
    """What a decorator was told of its function's results."""

    cache_type: str
    """The type they are cached under; empty where a store has no types."""
    begin: str = ""
    """What all keys of the view begin with in which they are kept."""
    namespace: str | None = None
    ttl: float | None = None
    key_params: tuple[str, ...] | None = None
    ignore: tuple[str, ...] | None = None
    tags: TagFunction | None = None
    version: int = 1

    def __post_init__(self) -> None:
        if self.ttl is not None:
            check_ttl(self.ttl)
        version: object = self.version
        if type(version) is not int or version < 0:
            raise UsageError(f"a version is a whole number, 0 or more, not {version!r}")
        if self.namespace is not None:
            size = len(check_text("a namespace", self.namespace))
            if size > MAX_NAMESPACE_BYTES:
                raise UsageError(f"a namespace has at most {MAX_NAMESPACE_BYTES} bytes, not {size}")

    @property
    def beginning(self) -> str:
        """What the keys of all functions of the namespace begin with."""
        return self.begin + (f"{self.namespace}{SEPARATOR}" if self.namespace else "")


class Keyed(Generic[P]):
    """A decorated function, as far as it looks like what it was, and has keys.

    Args:
        function: The function.
        terms: What is known of its results.
        place: Who keeps them.
    """

    # The slots are for what every call reads.
    __slots__ = ("__dict__", "__weakref__", "_key")

    __name__: str
    __qualname__: str
    __wrapped__: Callable[..., Any]

    def __init__(self, function: Callable[P, Any], terms: Terms, place: Any) -> None:
        functools.update_wrapper(cast("Any", self), function)
        _look_like_a_function(self, function)
        self._function = function
        self._terms = terms
        self._name = f"{terms.beginning}{short_name_of(function)}.v{terms.version}"
        """What its loader is called, and its keys begin with."""
        self._prefix = self._name + SEPARATOR
        self._place = residence_of(place)
        self._arguments = ArgumentDigest(function, terms.key_params, terms.ignore, prefix=self._prefix)
        self._key = self._arguments.__call__
        if terms.cache_type:
            check_type_name(terms.cache_type)
            check_returned(self._name, function)
        self._take_its_name(place)

    def key(self, /, *args: P.args, **kwargs: P.kwargs) -> str:
        """Return the key that the result for the arguments is cached under.

        Raises:
            UsageError: An argument can't be told from others.
        """
        return self._key(args, kwargs)

    def _spec(self, function: Callable[..., Any]) -> Loader:
        """Describe the async form of the function; the worker can call it by name, to keep results warm."""
        terms = self._terms
        call_tags = self._call_tags if terms.namespace and terms.cache_type else None
        whole = self._arguments.is_whole
        spec = Loader(self._name, function, terms.cache_type, terms.tags, terms.ttl, call_tags, whole)
        return register(spec, self._place) if terms.cache_type else spec

    def _call_tags(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[str]:
        return argument_tags(self._terms, self._arguments.each(args, kwargs).items())

    def _take_its_name(self, place: Any) -> None:
        """Two different functions never share their entries."""
        function, terms, params = self._function, self._terms, self._arguments.params
        if function.__name__ == "<lambda>" and not terms.namespace:
            raise UsageError("a lambda has no name: give it a namespace=…, or write a `def`")
        names = names_in(place)
        names.claim(terms.cache_type, self._prefix, function, params)
        if terms.namespace:
            names.enter(terms.cache_type, terms.beginning, function, params)

    def __repr__(self) -> str:
        return f"<cached function {self._name}>"

    def __reduce__(self) -> str:
        """As functions are: by name, or not at all."""
        return str(self._function.__qualname__)


def argument_tags(terms: Terms, digests: Iterable[tuple[str, str]]) -> list[str]:
    """Return the tags of all results in a namespace of calls that had one of these arguments."""
    begin = f"{terms.cache_type}{SEPARATOR}{terms.beginning}"
    return [f"{_shortened(begin + name)}={digest}" for name, digest in digests]


def _shortened(text: str) -> str:
    """A long namespace and a long name may be more than a tag can hold."""
    data = text.encode("utf-8", "surrogatepass")
    return text if len(data) <= MAX_BEFORE_DIGEST else f"~{hashlib.sha256(data).hexdigest()}"


def bind(keyed: Any, bound: Any, instance: Any) -> None:
    """Have a bound form look like the method of an instance."""
    functools.update_wrapper(bound, keyed, updated=())
    bound.__wrapped__ = MethodType(keyed.__wrapped__, instance)
    _look_like_a_function(bound, keyed.__wrapped__)


def _look_like_a_function(keyed: Any, function: Any) -> None:
    """Tools that ask "is it a coroutine function?" look at these."""
    keyed.__code__ = function.__code__
    keyed.__defaults__ = function.__defaults__
    keyed.__kwdefaults__ = function.__kwdefaults__
    keyed.__globals__ = function.__globals__


def check_function(function: Any) -> None:
    """Refuse what can't be decorated.

    Raises:
        UsageError: It is no function, or one that gives its results one by one, or a method of an instance.
    """
    name = type(function).__name__
    if isinstance(function, Keyed) and isinstance(cast("Any", function).__wrapped__, MethodType):
        raise UsageError(
            f"{function.__qualname__} is bound to an instance, which no key would tell: decorate the method "
            "in its class"
        )
    if name in {"classmethod", "staticmethod"}:
        raise UsageError(f"write @{name} above the cache's decorator, not below it")
    if not (inspect.isfunction(function) or isinstance(function, Keyed)):
        raise UsageError(f"{function!r} is no function: decorate a `def` or an `async def`")
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise UsageError(f"{function.__qualname__} gives its results one by one: return a list of them")
