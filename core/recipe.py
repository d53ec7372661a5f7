"""Recipes: what it takes to load a key again."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from stoker.core.errors import UsageError

#: The largest recipe that is kept, in bytes.
MAX_RECIPE_BYTES = 8 * 1024

#: Whole numbers that MessagePack knows.
_NUMBERS = range(-(1 << 63), 1 << 64)

#: Without a bound.
_ANY_ROOM = sys.maxsize


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
            if _room_after(argument, _ANY_ROOM) < 0:
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
        """Return the recipe of a call; None where an argument could not be stored, or they are too large.

        Such arguments, a session or a recording, are not held for longer than their call.
        """
        room = MAX_RECIPE_BYTES
        for argument in args:
            room = _room_after(argument, room)
        for argument in kwargs.values():
            room = _room_after(argument, room)
        return None if room < 0 else cls(loader, args, kwargs)

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


def _room_after(value: Any, room: int, depth: int = 32) -> int:
    """Return how much of `room` bytes a value leaves; less than 0 where it doesn't fit.

    Nor does one that comes back from MessagePack as another, as an enum or a tuple would.
    """
    if room < 0:
        return room
    kind = type(value)  # pyright: ignore[reportUnknownVariableType]
    if kind is str or kind is bytes:
        return room - 1 - len(value)
    if kind is int:
        return room - 1 if value in _NUMBERS else -1
    if kind is bool or kind is float or value is None:
        return room - 1
    if not depth or (kind is not list and kind is not dict):
        return -1
    room -= 1
    for item in value:
        room = _room_after(item, room, depth - 1)
        if kind is dict:
            room = _room_after(value[item], room, depth - 1)
        if room < 0:
            break
    return room
