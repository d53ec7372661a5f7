"""What may be shown of an address or a setting that can hold a secret."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast, get_args

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ErrorType

#: Stands where a secret was.
HIDDEN = "***"

_KNOWN_ERRORS = frozenset(get_args(ErrorType))

#: Longer texts are hidden whole: to look through them takes too long. In characters.
LONGEST_SHOWN = 4096

_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
#: From the scheme to the last `@`, so that a password with `/` or `@` of its own goes whole.
_USER = re.compile(rf"(?P<scheme>{_SCHEME})(?P<user>[^:@/\s;]*)(?P<password>:[^;]*|[^;]*)@")
_BARE_USER = re.compile(r"^[^;]*@")
_HIDES = r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|api[_-]?key|private[_-]?key|auth)"
#: A word of a command line, with what its quotes hold.
_VALUE = r"(?:'[^']*'|\"[^\"]*\"|\\.|\S)+"
_PARAMETER = re.compile(rf"(?P<name>[?&;][^=&;#?]{{0,64}}{_HIDES}[^=&;#?]{{0,64}})=[^&;\s]*", re.IGNORECASE)
_OPTION = re.compile(rf"(--?[\w-]{{0,64}}{_HIDES}[\w-]{{0,64}}[= ]){_VALUE}", re.IGNORECASE | re.DOTALL)
#: `NAME=value` with the value's quotes; within quotes it goes up to their end. Not meant: a URL's parameters.
_ASSIGNMENT = re.compile(
    rf"(?P<quote>['\"])?(?<![?&\w.-])(?P<name>[\w.-]*{_HIDES}[\w.-]{{0,64}})="
    r"(?(quote)(?:\\.|(?!(?P=quote)).)+|"
    rf"{_VALUE})",
    re.IGNORECASE | re.DOTALL,
)
_SECRET_NAME = re.compile(rf"(?:^|[_.-]){_HIDES}(?:$|[_.-])", re.IGNORECASE)


def redact_url(url: str) -> str:
    """Return `url` with its passwords hidden, in the user part and in the parameters.

    >>> redact_url("redis://stoker:hunter2@cache:6379/0?password=x")
    'redis://stoker:***@cache:6379/0?password=***'

    What is no URL but could be one that was cut (`:hunter2@cache`) loses all that stands before its `@`.
    """
    if len(url) > LONGEST_SHOWN:
        return HIDDEN
    text = _PARAMETER.sub(rf"\g<name>={HIDDEN}", url)
    if re.match(_SCHEME, text):
        return _USER.sub(_hide_user, text)
    return _BARE_USER.sub(f"{HIDDEN}@", text)


def _hide_user(match: re.Match[str]) -> str:
    password = match["password"]
    if password.startswith(":"):
        return f"{match['scheme']}{match['user']}:{HIDDEN}@"
    return f"{match['scheme']}{HIDDEN if password else match['user']}@"


def is_secret_name(name: str) -> bool:
    """Tell whether a setting called so holds a secret: `password`, `api_key`, `auth_token`."""
    return bool(_SECRET_NAME.search(name))


def redact(name: str, value: Any) -> Any:
    """Return what may be shown of the setting `name`: URLs without passwords, secrets as `***`.

    In command lines the values of options such as `--password`, and of variables such as `API_KEY=value`, are
    hidden too. Lists and mappings are
    redacted within; other values are returned as they are.
    """
    if value is None or isinstance(value, bool):
        return value
    if is_secret_name(name) or (isinstance(value, str) and len(value) > LONGEST_SHOWN):
        return HIDDEN
    if isinstance(value, dict):
        mapping = cast("dict[str, Any]", value)
        return {key: redact(key, part) for key, part in mapping.items()}
    if isinstance(value, (list, tuple)):
        return [redact(name, part) for part in cast("Sequence[Any]", value)]
    if isinstance(value, str):
        text = _ASSIGNMENT.sub(lambda match: f"{match['quote'] or ''}{match['name']}={HIDDEN}", value)
        text = _OPTION.sub(rf"\g<1>{HIDDEN}", text)
        return " ".join(redact_url(word) if "://" in word else word for word in text.split(" "))
    return value


def without_inputs(title: str, error: ValueError) -> ValidationError:
    """Return an error of a model with `***` where it holds what was given: that may have a password in it."""
    if not isinstance(error, ValidationError):
        found = InitErrorDetails(type="value_error", input=HIDDEN, ctx={"error": error})
        return ValidationError.from_exception_data(title, [found], hide_input=True)
    details: list[InitErrorDetails] = []
    for told in error.errors(include_input=False, include_url=False):
        context = told.get("ctx", {})
        kind: Any = told["type"]
        if kind not in _KNOWN_ERRORS:
            kind = PydanticCustomError(kind, told["msg"], context)  # pyright: ignore[reportArgumentType]
        details.append(InitErrorDetails(type=kind, loc=told["loc"], input=HIDDEN, ctx=context))
    return ValidationError.from_exception_data(title, details, hide_input=True)
