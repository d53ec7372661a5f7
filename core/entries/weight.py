"""How many bytes a value takes in memory, found with bounded effort.

Sizes are those of the allocations, rounded up as the allocator does. Of a large collection a sample is
weighed, and the whole extrapolated from it. What values share with each other costs nothing here: keys of
dictionaries and members of sets that others hold too (decoders make one text for all), members of
enumerations, small numbers, classes, functions.
"""

from __future__ import annotations

import dataclasses
import enum
import types
from collections import deque
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import islice
from operator import attrgetter
from sys import getrefcount, getsizeof
from typing import Any

#: Elements of one collection that are weighed, at most.
SAMPLE = 64

#: Elements of one value that are weighed, about: each collection divides its part among its elements.
EFFORT = 1024

#: Collections within collections that are looked into.
DEPTH = 16

#: A sample is taken from the beginning of a dictionary or set: each of its elements stands for so many.
STRIDE = 16

#: What a value counts that can't be weighed.
UNKNOWN_BYTES = 1024

#: Allocations are multiples of this; larger ones carry a header of their own.
_ALIGN = 16
_SMALL_ALLOCATION = 512
_ALLOCATION_HEADER = 8

#: References to a key that is held by nobody else: its dictionary's or set's, the loop's, the call's.
_UNSHARED = 3

_NUMBER_BYTES = 32
_TEXT_BYTES = getsizeof("")
_POINTER = 8
_ARRAY_HEADER = 16

#: Types of which instances are shared by all that refer to them.
_SHARED = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, enum.Enum)

#: Types whose instances refer to nothing that is their own, and the numbers, texts and bytes in them.
_LEAVES = frozenset({str, bytes, bytearray, float, complex, int, range})
_class_of: Callable[[Any], type] = type


_COLLECTIONS = (list, tuple, set, frozenset, deque)
_PLAIN = frozenset({dict, list, tuple, set, frozenset, deque, memoryview})
_FREE = frozenset({bool, type(None), type(...), type(NotImplemented)})


def weigh(value: Any) -> int:
    """Return about how many bytes a value takes, with all that it holds.

    What it holds twice is weighed once. Of objects the fields of a dataclass, the slots, and what is in their
    dictionaries counts; what an extension type hides is not seen.
    """
    kind = _class_of(value)
    try:
        if kind in _LEAVES:
            return _allocated(getsizeof(value))
        return _weigh(value, kind, EFFORT, DEPTH, set())
    except Exception:  # noqa: BLE001  what values do when they are looked at is their own affair
        return UNKNOWN_BYTES


def _allocated(size: int) -> int:
    """Bytes that an allocation of this size takes."""
    if size > _SMALL_ALLOCATION:
        size += _ALLOCATION_HEADER
    return size + _ALIGN - 1 & -_ALIGN


def _weigh(value: Any, kind: type, effort: int, depth: int, seen: set[int]) -> int:
    """Weigh anything but the commonest leaves."""
    if kind in _FREE or isinstance(value, _SHARED):
        return 0
    if id(value) in seen:
        return 0
    seen.add(id(value))
    own = _allocated(getsizeof(value))
    if not depth:
        return own
    own += _weigh_content(value, kind, effort, depth, seen)
    return own if kind in _PLAIN else own + _weigh_object(value, kind, effort, depth, seen)


def _weigh_content(value: Any, kind: type, effort: int, depth: int, seen: set[int]) -> int:
    """Weigh what a collection holds; nothing for other values."""
    if kind is dict or issubclass(kind, dict):
        return _weigh_mapping(value, effort, depth, seen)
    if kind is list or issubclass(kind, _COLLECTIONS):
        return _weigh_collection(value, effort, depth, seen)
    return int(value.nbytes) if kind is memoryview else 0


def _weigh_mapping(value: dict[Any, Any], effort: int, depth: int, seen: set[int]) -> int:
    count = len(value)
    if not count:
        return 0
    sample, stride = _sample_of(count, effort)
    end, stride = sample * min(stride, STRIDE), min(stride, STRIDE)
    effort //= sample
    total = _weigh_all(islice(value.values(), 0, end, stride), effort, depth, seen)
    total += _weigh_all(_unshared(islice(value, 0, end, stride)), effort, depth, seen)
    return total if sample == count else total * count // sample


def _weigh_collection(value: Any, effort: int, depth: int, seen: set[int]) -> int:
    count = len(value)
    if not count:
        return 0
    sample, stride = _sample_of(count, effort)
    kind = _class_of(value)
    chosen: Iterable[Any] = value
    if sample != count:
        if issubclass(kind, (list, tuple)):
            chosen = value[: sample * stride : stride]
        else:
            stride = min(stride, STRIDE)
            chosen = islice(value, 0, sample * stride, stride)
    if issubclass(kind, (set, frozenset)):
        chosen = _unshared(chosen)
    total = _weigh_all(chosen, effort // sample, depth, seen)
    return total if sample == count else total * count // sample


def _unshared(keys: Iterable[Any]) -> list[Any]:
    """The keys that nobody else refers to."""
    return [key for key in keys if getrefcount(key) <= _UNSHARED]


def _sample_of(count: int, effort: int) -> tuple[int, int]:
    """How many elements are weighed, and how far apart."""
    sample = min(count, SAMPLE, max(1, effort))
    return sample, count // sample


def _weigh_all(values: Iterable[Any], effort: int, depth: int, seen: set[int]) -> int:
    """Weigh elements, the common ones without a call."""
    total, cls = 0, _class_of
    for value in values:
        kind = cls(value)
        if kind is str:
            size = len(value) + _TEXT_BYTES if value.isascii() else getsizeof(value)
            total += size + 15 & -16 if size <= _SMALL_ALLOCATION else _allocated(size)
        elif kind is int:
            if value > 256 or value < -5:
                total += _NUMBER_BYTES if -(2**60) < value < 2**60 else _allocated(getsizeof(value))
        elif kind is float:
            total += _NUMBER_BYTES
        elif kind in _LEAVES:
            total += _allocated(getsizeof(value))
        elif kind not in _FREE:
            total += _weigh(value, kind, effort, depth - 1, seen)
    return total


def _weigh_object(value: Any, kind: type, effort: int, depth: int, seen: set[int]) -> int:
    """Weigh an object's attributes."""
    fields, in_array, read = _layout(kind)
    total = 0
    if fields:
        try:
            found = read(value)
        except Exception:  # noqa: BLE001  one is not set, or is computed by code that raises what it likes
            found = ()
        total += _weigh_all(found, effort // len(fields), depth, seen)
    if in_array:
        total += _allocated(_POINTER * in_array + _ARRAY_HEADER)
    elif kind.__dictoffset__:
        attributes = value.__dict__
        total += _allocated(getsizeof(attributes)) + _weigh_mapping(attributes, effort, depth, seen)
    return total


@lru_cache(maxsize=1024)
def _layout(kind: type) -> tuple[tuple[str, ...], int, Callable[[Any], Iterable[Any]]]:
    """How an object of a type is read: its fields, how many stand in its array, what returns their values.

    As long as nobody asks for an object's dictionary, Python keeps attributes in an array of it: where the
    type says what there is (a dataclass, or one of attrs), the dictionary is not asked for.
    """
    names = dict.fromkeys(
        name
        for base in kind.__mro__
        for name, member in vars(base).items()
        if isinstance(member, types.MemberDescriptorType)
    )
    declared = [field.name for field in getattr(kind, "__attrs_attrs__", ())]
    if dataclasses.is_dataclass(kind):
        declared = [field.name for field in dataclasses.fields(kind)]
    in_array = [name for name in declared if name not in names] if kind.__dictoffset__ else []
    fields = (*names, *in_array)
    if len(fields) == 1:
        single = attrgetter(fields[0])
        return fields, len(in_array), lambda value: (single(value),)
    return fields, len(in_array), attrgetter(*fields) if fields else _nothing


def _nothing(_: Any) -> Iterable[Any]:
    return ()
