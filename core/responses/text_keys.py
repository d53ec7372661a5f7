"""Keys of texts by operation and options: readable for short texts, a digest for long ones.

A key is `<operation>:<digest of options and question>:<text>`, or, for a long text,
`<operation>:<digest>#<characters>:<SHA-256 of the text>`. An operation has no colon, and a digest is of one
length, so two texts never share a key, whatever stands in them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from stoker.core.errors import UsageError
from stoker.core.keys import check_text
from stoker.core.responses.request_keys import encode_canonically, fields_of

#: Texts longer than this are hashed, in characters, where nothing else is said.
HASH_THRESHOLD = 1000

#: Characters that are encoded and hashed at once: a long text is never copied as a whole.
STEP = 65_536

#: Hexadecimal digits of the digest of options and question: 128 bits.
DIGEST_DIGITS = 32

_OPERATION = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def text_key(
    text: str,
    operation: str,
    options: Any = None,
    question: str | None = None,
    *,
    threshold: int = HASH_THRESHOLD,
    room: int = 512,
) -> str:
    """Return the key of what an operation makes of a text.

    Args:
        text: The text.
        operation: Its name: letters, digits, `_`, `.` and `-`.
        options: A dict, a dataclass, a Struct or a model; `None` is as good as none of them. As in JSON,
            lists, tuples and sets are the same, and dates, UUIDs and decimals are their texts.
        question: What is asked about the text; `None` and an empty one differ.
        threshold: Longer texts are hashed, in characters,
        room: and so are those with which the key would be longer than this.

    Raises:
        UsageError: An argument can't be part of a key.
    """
    check_operation(operation)
    _check(text, "text")
    begin = f"{operation}:{_digest(options, question)}"
    if len(text) <= threshold and len(begin) + 1 + len(text) <= room:
        check_text("text", text)
        return f"{begin}:{text}"
    return f"{begin}#{len(text)}:{_hash(text)}"


def check_operation(operation: str) -> str:
    """Return the name if an operation may be called so.

    Raises:
        UsageError: It may not.
    """
    if not isinstance(operation, str) or not _OPERATION.fullmatch(operation):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(
            f"operation is a name of 1 to 64 letters, digits, '_', '.' and '-', not {operation!r:.80}"
        )
    return operation


def _check(text: Any, what: str) -> None:
    if not isinstance(text, str):
        raise UsageError(f"{what} is a str, not {type(text).__name__}")


def _digest(options: Any, question: str | None) -> str:
    fields: Mapping[str, Any] | None = {} if options is None else fields_of(options)
    if fields is None:
        raise UsageError(f"options are a dict, a dataclass or a model, not a {type(options).__qualname__}")
    encoded = encode_canonically("the options", fields)
    asked = b"-"
    if question is not None:
        _check(question, "question")
        asked = b"?" + check_text("question", question)
    return hashlib.sha256(b"%d:%b%b" % (len(encoded), encoded, asked)).hexdigest()[:DIGEST_DIGITS]


def _hash(text: str) -> str:
    digest = hashlib.sha256()
    for at in range(0, len(text), STEP):
        digest.update(check_text("text", text[at : at + STEP]))
    return digest.hexdigest()
