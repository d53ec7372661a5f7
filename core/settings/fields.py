"""What the fields of a settings model are, and which values each of them takes, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator, SecretStr
from pydantic.fields import FieldInfo

from stoker.core.settings.policy import parse_bytes, parse_seconds
from stoker.core.settings.problems import FieldPath

_NUMBERS = {int: "a whole number", float: "a number"}
#: The upper bound of all lengths of time goes without saying.
LONGEST_SECONDS = 10 * 365 * 86400

_PLAIN = {
    bool: "true or false",
    str: "a text",
    SecretStr: "a text",
    dict: "`name: value` lines",
    Any: "a value",
}


@dataclass(frozen=True, slots=True)
class Kind:
    """What a field takes: its type, freed of `Annotated` and of `| None`."""

    base: Any
    """`float`, `Literal["a", "b"]`, `list[str]`, `dict[str, Policy]`, a model, …"""
    constraints: tuple[Any, ...] = ()
    nullable: bool = False

    @property
    def section(self) -> type[BaseModel] | None:
        """The model, where the field is a section with fields of its own."""
        return self.base if isinstance(self.base, type) and issubclass(self.base, BaseModel) else None

    @property
    def values(self) -> Kind | None:
        """The kind of the values, where the field is a mapping of free names."""
        return kind_of(get_args(self.base)[1]) if get_origin(self.base) is dict else None

    @property
    def is_list(self) -> bool:
        """Whether the field is a list."""
        return get_origin(self.base) in {list, tuple}

    @property
    def is_free(self) -> bool:
        """Whether only a check of its own knows which values the field takes: texts, sections, mappings."""
        return not (self.base in _NUMBERS or self.base is bool or get_origin(self.base) is Literal)

    def reads(self, parse: Any) -> bool:
        """Tell whether the field's values go through the function `parse` first."""
        return any(isinstance(item, BeforeValidator) and item.func is parse for item in self.constraints)

    def allowed(self) -> str:
        """Say in words which values the field takes."""
        return self._allowed() + (" or null" if self.nullable else "")

    def _allowed(self) -> str:
        if self.section is not None:
            return f"the fields {', '.join(self.section.model_fields)}"
        if get_origin(self.base) is Literal:
            names = [str(name) for name in get_args(self.base)]
            return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
        if self.is_list:
            return f"a list, each item {kind_of(get_args(self.base)[0]).allowed()}"
        if self.reads(parse_seconds):
            return f"seconds, or a text like 250ms, 30s, 5m, 2h, 1d{self.range_text(before=', ')}"
        if self.reads(parse_bytes):
            return "bytes, or a text like 512KiB, 16MiB, up to 512MiB"
        if self.base in _NUMBERS:
            return _NUMBERS[self.base] + self.range_text(before=" ")
        return _PLAIN.get(get_origin(self.base) or self.base, "another value")

    def range_text(self, *, before: str) -> str:
        """Say in words between which bounds a number lies, after `before`; nothing where it has none."""
        lows: list[tuple[float, str]] = []
        highs: list[tuple[float, str]] = []
        for item in self.constraints:
            match item:
                case Gt(gt=float() | int() as bound):
                    lows.append((bound, f"over {bound:g}"))
                case Ge(ge=float() | int() as bound):
                    lows.append((bound, f"from {bound:g}"))
                case Lt(lt=float() | int() as bound):
                    highs.append((bound, f"below {bound:g}"))
                case Le(le=float() | int() as bound) if bound < LONGEST_SECONDS:
                    highs.append((bound, f"up to {bound:g}"))
                case _:
                    pass
        words = [max(lows)[1]] if lows else []
        words += [min(highs)[1]] if highs else []
        return before + " ".join(words) if words else ""


def kind_of(annotation: Any, constraints: tuple[Any, ...] = ()) -> Kind:
    """Return the kind of an annotation; `constraints` are those that pydantic already took off it."""
    nullable = False
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *extra = get_args(annotation)
            constraints = (*constraints, *_flat(extra))
        elif get_origin(annotation) in {Union, UnionType} and NoneType in get_args(annotation):
            nullable = True
            rest = [part for part in get_args(annotation) if part is not NoneType]
            if len(rest) != 1:
                return Kind(Any, constraints, nullable)
            annotation = rest[0]
        else:
            return Kind(annotation, constraints, nullable)


def mapping(value: object) -> dict[str, Any] | None:
    """Return `value` if it is a mapping, else None."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def fields_set(part: Any) -> Any:
    """Return models, in mappings too, as the fields that were set on them, so that the others stay open."""
    if isinstance(part, BaseModel):
        return part.model_dump(exclude_unset=True)
    named = mapping(part)
    return part if named is None else {name: fields_set(value) for name, value in named.items()}


def elements(value: object) -> list[Any]:
    """Return `value` if it is a list, else an empty one."""
    return list(cast("list[object]", value)) if isinstance(value, list) else []


def _flat(metadata: list[Any]) -> Iterator[Any]:
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from item.metadata
        else:
            yield item


def field_kind(info: FieldInfo) -> Kind:
    """Return the kind of a model's field."""
    return kind_of(info.annotation, tuple(info.metadata))


def step(kind: Kind, name: str | int) -> Kind | None:
    """Return the kind below `kind` under a name or index; None where nothing is called so."""
    if kind.section is not None:
        info = kind.section.model_fields.get(str(name))
        return field_kind(info) if info else None
    if kind.values is not None:
        return kind.values
    if kind.is_list:
        return kind_of(get_args(kind.base)[0])
    return kind if kind.base is Any else None


def find(model: type[BaseModel], path: FieldPath) -> Kind | None:
    """Return the kind of the field at `path` below `model`; None where there is no such field."""
    kind = Kind(model)
    for name in path:
        below = step(kind, name)
        if below is None:
            return None
        kind = below
    return kind


def leaves(kind: Kind, value: Any, path: FieldPath = ()) -> Iterator[tuple[FieldPath, Any]]:
    """Yield all single settings below a dumped value with their paths, in the order of the model's fields.

    An empty mapping and a list are single settings.
    """
    below_it = mapping(value)
    if not below_it or (kind.section is None and kind.values is None):
        yield path, value
        return
    for name, part in below_it.items():
        below = step(kind, name)
        if below is not None:
            yield from leaves(below, part, (*path, name))
