"""Recipes: what it takes to load a key again."""

from __future__ import annotations

from typing import Any

import msgspec

from stoker.core.errors import UsageError

#: The largest recipe that is kept, in bytes.
MAX_RECIPE_BYTES = 8 * 1024

_PLAIN = frozenset((type(None), bool, int, float, str, bytes))


class Recipe(msgspec.Struct, frozen=True, array_like=True):
    """What it takes to load a key again: the loader's name and its arguments."""

    loader: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # msgspec makes a new one for each

    def pack(self) -> bytes:
        """Return the stored form.

        Raises:
            UsageError: An argument is of a type that can't be stored or would come back as another, or they
                are too large.
        """
        for argument in (*self.args, *self.kwargs.values()):
            if not _is_plain(argument):
                raise UsageError(
                    f"arguments of loader {self.loader!r} can't be kept for warming: "
                    f"{type(argument).__name__} would not come back the same; "
                    "pass numbers, texts, bytes, and lists and dicts of these"
                )
        try:
            data = msgspec.msgpack.encode(self)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise UsageError(
                f"arguments of loader {self.loader!r} can't be kept for warming: {error}"
            ) from None
        if len(data) > MAX_RECIPE_BYTES:
            raise UsageError(
                f"arguments of loader {self.loader!r} take {len(data)} bytes: pass an id instead"
            )
        return data

    @classmethod
    def of(cls, loader: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Recipe | None:
        """Return the recipe of a call; None where an argument could not be stored.

        Such arguments, a request or a session, are not held for longer than their call.
        """
        return cls(loader, args, kwargs) if all(map(_is_plain, (*args, *kwargs.values()))) else None

    @classmethod
    def unpack(cls, data: bytes) -> Recipe:
        """Read the stored form.

        Raises:
            UsageError: The bytes are no recipe.
        """
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise UsageError(f"{len(data)} bytes are no recipe: {error}") from None


def _is_plain(value: Any, depth: int = 32) -> bool:
    """Whether a value comes back from MessagePack as it went; an enum or a tuple would not."""
    if type(value) in _PLAIN:
        return True
    if not depth or type(value) not in {list, dict}:
        return False
    inside: list[Any] = [*value, *value.values()] if type(value) is dict else value
    return all(_is_plain(item, depth - 1) for item in inside)
