"""What an invalidation names: a key, a tag, a type, a pattern, everything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

from stoker.core.errors import UsageError
from stoker.core.keys import check_key, check_text, check_type_name

#: A tag is at most so long in UTF-8.
MAX_TAG_BYTES = 255

#: The longest pattern, in characters.
MAX_PATTERN_LENGTH = 512

#: What a glob begins with that stands for itself, and the stars after it; and what is escaped in it.
_LITERAL = re.compile(r"((?:[^*?\[\\]|\\.)*)(\**)", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Key:
    """One entry."""

    cache_type: str
    key: str


@dataclass(frozen=True, slots=True)
class Tag:
    """All entries that carry a tag, of whatever type."""

    tag: str


@dataclass(frozen=True, slots=True)
class Type:
    """All entries of a type."""

    cache_type: str


@dataclass(frozen=True, slots=True)
class Pattern:
    r"""All entries of a type whose key matches a glob (`*`, `?`, `[a-z]`, `\` escapes)."""

    cache_type: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Everything:
    """All entries of all types."""


@dataclass(frozen=True, slots=True)
class Copy:
    """What processes hold of one entry in their memory; the entry in Redis stays as it is."""

    cache_type: str
    key: str


EVERY_COPY = Copy("*", "*")
"""All that processes hold in their memory."""

Scope: TypeAlias = Key | Tag | Type | Pattern | Everything
Field: TypeAlias = Literal["key", "tag", "type", "pattern", "everything", "copy"]


def check_scope(scope: Scope) -> Scope:
    """Return the scope if it can be written to the log, else raise `UsageError`."""
    match scope:
        case Key(cache_type, key):
            check_type_name(cache_type)
            check_key(key)
        case Tag(tag):
            if not 0 < (size := len(check_text("a tag", tag))) <= MAX_TAG_BYTES:
                raise UsageError(f"a tag has 1 to {MAX_TAG_BYTES} bytes, not {size}")
        case Type(cache_type):
            check_type_name(cache_type)
        case Pattern(cache_type, pattern):
            check_type_name(cache_type)
            check_text("a pattern", pattern)
            if not 0 < len(pattern) <= MAX_PATTERN_LENGTH:
                raise UsageError(f"a pattern has 1 to {MAX_PATTERN_LENGTH} characters, not {len(pattern)}")
        case Everything():
            pass
        case _:
            raise UsageError(
                f"{scope!r:.100} is no scope: give Key(type, key), Tag(tag), Type(type), "
                "Pattern(type, pattern) or Everything()"
            )
    return scope


def to_field(scope: Scope | Copy) -> tuple[Field, str]:
    """Return the scope as a field of a log record."""
    match scope:
        case Copy(cache_type, key):
            return "copy", f"{cache_type}:{key}"
        case Key(cache_type, key):
            return "key", f"{cache_type}:{key}"
        case Tag(tag):
            return "tag", tag
        case Type(cache_type):
            return "type", cache_type
        case Pattern(cache_type, pattern):
            return "pattern", f"{cache_type}:{pattern}"
        case Everything():
            return "everything", "1"


def to_fields(scopes: Iterable[Scope | Copy]) -> list[str]:
    """Return the scopes, each once, as the flat field list of a log record."""
    found = dict.fromkeys(
        to_field(scope if isinstance(scope, Copy) else check_scope(scope)) for scope in scopes
    )
    return [text for pair in found for text in pair]


def describe_scope(scope: Scope) -> str:
    """Return the scope for people: `key product:42`, `tag category:5`, `everything`."""
    field, value = to_field(scope)
    return field if field == "everything" else f"{field} {value}"


@lru_cache(maxsize=1024)
def compile_glob(glob: str) -> re.Pattern[str]:
    r"""A Redis glob as a regular expression that matches whole texts, in time linear in each `*`.

    The rules are those of Redis' `stringmatchlen`: `*`, `?`, `[…]` with ranges and `^`, `\` escapes.
    """
    # Between two stars the leftmost match is as good as any: atomic groups keep `*a*a*a*b` from
    # trying all of them.
    first, *middle = _segments(glob)
    if not middle:
        return re.compile(first, re.DOTALL)
    last = middle.pop()
    inner = "".join(f"(?>.*?{segment})" for segment in middle if segment)
    return re.compile(f"{first}{inner}.*{last}", re.DOTALL)


def literal_of(glob: str) -> tuple[str, bool] | None:
    r"""The text that a glob is, and whether anything may follow it; None for a glob that asks for more.

    >>> literal_of(r"user:\[5\]:*"), literal_of("user:5"), literal_of("user:?:*")
    (('user:[5]:', True), ('user:5', False), None)
    """
    found = _LITERAL.fullmatch(glob)
    return (_ESCAPED.sub(r"\1", found[1]), bool(found[2])) if found else None


def literal_beginning(glob: str) -> str:
    r"""The text that all that a glob matches begins with.

    >>> literal_beginning(r"user:\[5\]:*"), literal_beginning("user:[5]:*")
    ('user:[5]:', 'user:')
    """
    found = _LITERAL.match(glob)
    return _ESCAPED.sub(r"\1", found[1]) if found else ""


def _segments(glob: str) -> list[str]:
    """The expressions between the stars of a glob."""
    segments = [""]
    at = 0
    while at < len(glob):
        char = glob[at]
        at += 1
        if char == "*":
            segments.append("")
        elif char == "?":
            segments[-1] += "."
        elif char == "[":
            at, text = _compile_set(glob, at)
            segments[-1] += text
        else:
            if char == "\\" and at < len(glob):
                char = glob[at]
                at += 1
            segments[-1] += re.escape(char)
    return segments


def _compile_set(glob: str, at: int) -> tuple[int, str]:
    """Translate what follows a `[`; return (where it ends, the expression)."""
    negated = glob[at : at + 1] == "^"
    at += negated
    members: list[str] = []
    while at < len(glob) and glob[at] != "]":
        if glob[at] == "\\" and at + 1 < len(glob):
            at += 1
            members.append(re.escape(glob[at]))
        elif glob[at + 1 : at + 2] == "-" and at + 2 < len(glob):
            low, high = sorted((glob[at], glob[at + 2]))
            members.append(f"{re.escape(low)}-{re.escape(high)}")
            at += 2
        else:
            members.append(re.escape(glob[at]))
        at += 1
    inside = "".join(members)
    if not inside:
        return at + 1, "." if negated else r"(?!)"
    return at + 1, f"[{'^' if negated else ''}{inside}]"


def narrowest(scopes: Sequence[Scope], *, limit: int) -> list[Scope]:
    """Return at most `limit` scopes that cover all the given ones: widened where needed, none dropped.

    Keys and patterns of a type become the type; if that isn't enough, all becomes everything.
    """
    found = list(dict.fromkeys(scopes))
    if len(found) <= limit:
        return found
    wider: dict[Scope, None] = {}
    for scope in found:
        wider[Type(scope.cache_type) if isinstance(scope, Key | Pattern) else scope] = None
    return list(wider) if len(wider) <= limit else [Everything()]
