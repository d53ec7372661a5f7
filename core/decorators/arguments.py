"""Keys for calls: a digest of a function's arguments that is the same in every process.

Different arguments never share a digest, and equal ones always do; `encoding` says what tells them apart. A
function is called as its own parameters say. What a wrapper that takes `*args` and `**kwargs` hands in beside
them nobody knows: its calls are told apart as they are written.

The digests are the same in every process and on every version of Python: tests/snapshots holds some.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar, cast
from uuid import UUID

from stoker.core.decorators.encoding import encode_argument, encode_text
from stoker.core.errors import UsageError
from stoker.core.keys import check_text, several

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

#: Bytes of a digest.
DIGEST_BYTES = 16

#: Calls whose digests are remembered for a function; then all are forgotten.
MAX_REMEMBERED = 4096

#: Bytes that the arguments of a remembered call may have, about.
MAX_REMEMBERED_BYTES = 256

#: Of these, calls with equal arguments of equal types are the same call.
_FLAT = frozenset((str, int, bool, bytes, type(None), float))

#: Parameters that a call may give by name.
_BY_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class ArgumentDigest:
    """Digests of the calls of one function.

    Args:
        function: The function.
        params: The parameters that count; all where not given.
        ignored: Parameters that don't count.
        prefix: What the digests are to begin with.

    Raises:
        UsageError: A parameter that was named is none of the function's, or a text was given where several
            names are expected.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        params: Iterable[str] | None = None,
        ignored: Iterable[str] | None = None,
        *,
        prefix: str = "",
    ) -> None:
        self._prefix = prefix
        self._function = function
        self._signature = own_signature(function)
        self._name = getattr(function, "__qualname__", repr(function))
        names = list(self._signature.parameters)
        wanted = set(names if params is None else self._known("key_params", params))
        self.params = tuple(sorted(wanted - set(self._known("ignore", ignored or ()))))
        """The names of the parameters that count, sorted."""
        self._uncounted = _uncounted(self._signature, self.params)
        self._remembered: dict[Any, str] = {}

    def _known(self, what: str, given: Iterable[str]) -> list[str]:
        known, found = self._signature.parameters, list(several(f"names in {what}", given))
        for name in found:
            if name not in known:
                raise UsageError(f"{what}: {self._name} has no parameter {name!r}; {self._has(name)}")
        return found

    def _has(self, name: str) -> str:
        """Say which parameters there are; or that they are those of a wrapper."""
        if not _hands_on(self._signature) or name not in inspect.signature(self._function).parameters:
            return f"it has: {', '.join(self._signature.parameters)}"
        return (
            "it is wrapped by a decorator that takes *args and **kwargs, and may hand in others: write the "
            "cache's decorator below that one, or give the wrapper parameters of its own or a __signature__"
        )

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return the digest of a call.

        Raises:
            UsageError: An argument can't be told from others.
            TypeError: The function can't be called so.
        """
        # Types come first: arguments of other types are never compared.
        call = (
            (*map(type, args), *args)
            if not kwargs
            else (len(args), *map(type, args), *map(type, kwargs.values()), *kwargs, *kwargs.values(), *args)
        )
        try:
            return self._remembered[call]
        except KeyError:
            pass
        except TypeError:  # a list or dict among them
            return self._digest(args, kwargs)
        found = self._digest(args, kwargs)
        if _is_small((*args, *kwargs.values()) if kwargs else args):
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[call] = found
        return found

    def each(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> dict[str, str]:
        """Return a digest for each parameter of a call that counts.

        Raises:
            UsageError: An argument can't be told from others.
            TypeError: The function can't be called so.
        """
        return {name: _digest_of([data]) for name, data in self._encoded(args, kwargs).items()}

    def each_alike(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> list[tuple[str, str]]:
        """As `each`, with digests of what is written alike, too: of `1` and `"1"`, of a UUID and its text.

        Raises:
            UsageError: An argument can't be told from others.
            TypeError: The function can't be called so.
        """
        bound = self._bound(args, kwargs)
        return [
            (name, _digest_of([self._encode(name, value)]))
            for name in self.params
            for value in _alike(bound[name])
        ]

    def is_whole(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        """Whether a call gives nothing but what counts."""
        first, names, others = self._uncounted
        if len(args) > first or not names.isdisjoint(kwargs):
            return False
        return others is None or others >= kwargs.keys()

    def _digest(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> str:
        parts = [encode_text(name) + data for name, data in self._encoded(args, kwargs).items()]
        return self._prefix + _digest_of(parts)

    def _encoded(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> dict[str, bytes]:
        bound = self._bound(args, kwargs)
        return {name: self._encode(name, bound[name]) for name in self.params}

    def _bound(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def _encode(self, name: str, value: Any) -> bytes:
        try:
            return encode_argument(value)
        except UsageError as error:
            raise UsageError(f"argument {name!r} of {self._name}: {error}") from None


def generate_cache_key(prefix: str, /, **arguments: Any) -> str:
    """Return a key for arguments, `prefix:` and 32 hexadecimal digits: the same for equal ones in any order.

    ```python
    key = generate_cache_key("tasks", user_id=1, status="active")
    assert key == generate_cache_key("tasks", status="active", user_id=1)
    ```

    Raises:
        UsageError: The prefix is no text, or an argument can't be told from others.
    """
    check_text("a prefix", prefix)
    parts: list[bytes] = []
    for name in sorted(arguments):
        try:
            parts.append(encode_text(name) + encode_argument(arguments[name]))
        except UsageError as error:
            raise UsageError(f"argument {name!r} of a key of {prefix!r}: {error}") from None
    return f"{prefix}:{_digest_of(parts)}"


def own_signature(function: Callable[..., Any]) -> inspect.Signature:
    """Return the parameters that a function takes itself, not those of one that it wraps."""
    return inspect.signature(function, follow_wrapped=False)


def passes_on(function: Callable[..., Any]) -> Callable[[FunctionT], FunctionT]:
    """As `functools.wraps`, for what takes `*args` and `**kwargs` and hands on just these."""

    def decorate(wrapper: FunctionT) -> FunctionT:
        wrapped: Any = functools.wraps(function)(wrapper)
        signature = own_signature(function)
        if not _hands_on(signature):
            wrapped.__signature__ = signature
        return cast("FunctionT", wrapped)

    return decorate


def _hands_on(signature: inspect.Signature) -> bool:
    """Whether a function takes whatever it is given."""
    return {one.kind for one in signature.parameters.values()} == {
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    }


def _uncounted(
    signature: inspect.Signature, params: Collection[str]
) -> tuple[float, frozenset[str], frozenset[str] | None]:
    """What doesn't tell calls apart.

    Positions from one on, and keywords; and, where all others don't, the keywords that are none of these.
    """
    there = signature.parameters.values()
    by_place = [one for one in there if one.kind not in {one.KEYWORD_ONLY, one.VAR_KEYWORD}]
    first = next((at for at, one in enumerate(by_place) if one.name not in params), math.inf)
    names = frozenset(one.name for one in there if one.name not in params and one.kind is not one.VAR_KEYWORD)
    if all(one.name in params for one in there if one.kind is one.VAR_KEYWORD):
        return first, names, None
    return first, names, frozenset(one.name for one in there if one.kind in _BY_KEYWORD)


def _alike(value: Any) -> list[Any]:
    """A value, and what others may have been given in its place: a number or a UUID, or a text of it."""
    kind = cast("Any", type(value))
    if kind is int or kind is UUID:
        try:
            return [value, str(value)]
        except ValueError:  # it has more digits than Python writes, and so than any text of it
            return [value]
    if kind is str:
        return [value, *(other for other in (_parsed(int, value), _parsed(UUID, value)) if other is not None)]
    return [value]


def _parsed(kind: Callable[[str], Any], text: str) -> Any:
    try:
        found = kind(text)
    except ValueError:
        return None
    return found if str(found) == text else None


def _digest_of(parts: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(parts)).digest()[:DIGEST_BYTES].hex()


def _is_small(args: tuple[Any, ...]) -> bool:
    """Whether arguments may be held for long: all are plain values, and short together."""
    size = 0
    for value in args:
        kind = cast("Any", type(value))
        if kind not in _FLAT:
            return False
        if kind is str or kind is bytes:
            size += len(value)
        elif kind is int:
            size += value.bit_length() // 8
    return size < MAX_REMEMBERED_BYTES


def hash_key(data: Any) -> str:
    """Return a key for data of any shape: the SHA-256 of what tells it from all other data, in hex.

    Equal data have one key, in every process; a dict's order doesn't matter.

    Raises:
        UsageError: Something in it can't be told from others by what it holds.
    """
    try:
        return hashlib.sha256(encode_argument(data)).hexdigest()
    except UsageError as error:
        raise UsageError(f"data can't be hashed: {error}") from None
