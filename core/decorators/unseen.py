"""What an object holds beside its fields: nobody would see that two of them differ in it."""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any, cast

import msgspec
from pydantic import BaseModel

from stoker.core.errors import UsageError

#: Where classes are defined whose instances hold what their fields or their texts say.
_KNOWN = frozenset(("abc", "datetime", "decimal", "enum", "msgspec", "pathlib", "typing", "uuid"))


def refuse_unseen(value: Any, seen: Collection[str]) -> None:
    """Refuse an object that may differ from another one in what is not looked at.

    Args:
        value: The object.
        seen: Its fields.

    Raises:
        UsageError: It has attributes of its own beside them, or is at once a list, a dict or the like.
    """
    kind = cast("Any", type(value))
    slots, base = _beside(kind)
    if base and not (base == "tuple" and not seen):
        raise UsageError(f"a {kind.__qualname__} is a {base}, too, which its fields don't tell of: {_ADVICE}")
    held: dict[str, Any] = getattr(value, "__dict__", {})
    unseen = [name for name in held if name not in seen and not _is_told(kind, name)]
    unseen += [name for name in slots if name not in seen and hasattr(value, name)]
    if isinstance(value, BaseModel):
        unseen = [name for name in unseen if name not in (value.__pydantic_private__ or ())]
    if unseen:
        names = ", ".join(sorted(unseen))
        raise UsageError(f"a {kind.__qualname__} holds what its fields don't tell of ({names}): {_ADVICE}")


_ADVICE = "give its class a method __cache_key__, or leave it out with ignore or key_params"


@functools.lru_cache(maxsize=1024)
def _beside(kind: Any) -> tuple[tuple[str, ...], str]:
    """The slots of a class, but for those of classes that are known, and which container it is beside."""
    slots: list[str] = []
    base = ""
    for one in kind.__mro__[:-1]:
        if one.__module__ in {"builtins", "collections"}:
            base = base or one.__name__
        elif one in {BaseModel, msgspec.Struct} or one.__module__.split(".")[0] in _KNOWN:
            continue
        else:
            own = one.__dict__.get("__slots__", ())
            slots += [own] if isinstance(own, str) else own
    return tuple(name for name in slots if name not in {"__dict__", "__weakref__"}), base


def _is_told(kind: type[Any], name: str) -> bool:
    """Whether an attribute holds what was computed of the others, or what typing notes of the class."""
    return name == "__orig_class__" or isinstance(getattr(kind, name, None), functools.cached_property)
