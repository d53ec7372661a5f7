"""Settings from the environment: `STOKER_TYPES__PRODUCT__TTL=5m` and the older names.

A variable's name is `STOKER_` and the field's path, in capitals, its parts joined by two underscores. A list
is written `a,b` or `[a, b]`; a whole section as a YAML or JSON mapping; `null` turns off what can be null. An
empty variable counts as not set. A single variable goes over one that holds the whole section around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, cast

from pydantic import BaseModel

from stoker.core.errors import ConfigError
from stoker.core.settings.document import parse_value, plain_value
from stoker.core.settings.fields import Kind, find, mapping, step
from stoker.core.settings.problems import FieldPath, Problem, dotted

PREFIX = "STOKER_"

#: The names that deployments used before; a `STOKER_` variable of the same field wins over them.
OLDER_NAMES: dict[str, FieldPath] = {
    "REDIS_URL": ("redis", "url"),
    "REDIS_MAX_CONNECTIONS": ("redis", "max_connections"),
    "USE_REDIS": ("redis", "enabled"),
    "CACHE_TTL": ("default_ttl",),
    "CACHE_DEFAULT_TTL": ("default_ttl",),
    "CACHE_COMPRESSION_THRESHOLD": ("types", "*", "compress_above"),
    "CACHE_TTL_LLM": ("types", "llm_response", "ttl"),
    "CACHE_TTL_STT": ("types", "stt_transcription", "ttl"),
    "CACHE_TTL_TTS": ("types", "tts_synthesis", "ttl"),
    "CACHE_TTL_SESSION": ("types", "session", "ttl"),
    "CACHE_TTL_DB": ("types", "db_query", "ttl"),
    "CACHE_METRICS_TTL": ("metrics", "retention"),
}

#: What an older name sets beside the field that it stands for.
OLDER_NAMES_TOO: dict[str, FieldPath] = {"CACHE_METRICS_TTL": ("request_metrics_ttl",)}

#: `STOKER_` variables that are no settings: where the file is, and what tests are told.
_NO_SETTINGS = re.compile(r"STOKER_(?:CONFIG|TEST_\w*)")

#: What Kubernetes sets in every pod beside a service called stoker, stoker-worker, …
_SERVICE = re.compile(
    r"STOKER_(?:[A-Z0-9]+_)*(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_\w+)?)?)"
)
_SERVICE_VALUE = re.compile(r"(?:tcp|udp|sctp)://.*|[0-9a-fA-F.:]+|tcp|udp|sctp")

#: How alike a new name and a known one are before the new one is taken for a slip.
_ALIKE = 0.8


@dataclass(slots=True)
class Environment:
    """What the environment says, in the order in which it applies: later ones win."""

    values: list[tuple[str, FieldPath, Any]] = field(default_factory=list[tuple[str, FieldPath, Any]])
    """Variable, path of the field, value."""
    problems: list[Problem] = field(default_factory=list[Problem])


def where(variable: str) -> str:
    """Return how messages and provenance name a variable."""
    return f"environment variable {variable}"


def read_environment(
    model: type[BaseModel], known: dict[str, Any], foreign: frozenset[str], environ: Mapping[str, str]
) -> Environment:
    """Find all settings of `model` in `environ`.

    `known` is what file and defaults say: its free names (types, schedule entries) are those that a variable
    can mean. Variables of the root fields in `foreign` belong to somebody else, and are left alone.
    """
    result = Environment()
    for variable, path in (*OLDER_NAMES.items(), *OLDER_NAMES_TOO.items()):
        kind = find(model, path)
        if kind is not None and environ.get(variable, "").strip():
            _read(result, variable, path, kind, environ[variable])
    ours = (name for name in environ if name.startswith(PREFIX) and environ[name].strip())
    for variable in sorted(ours, key=lambda name: (name.count("__"), name)):
        parts = variable.removeprefix(PREFIX).lower().split("__")
        if _is_no_setting(variable, environ[variable]) or parts[0] in foreign:
            continue
        found = _find(model, known, parts)
        if isinstance(found, str):
            result.problems.append(Problem(where(variable), "", found))
        else:
            path, kind = found
            _read(result, variable, path, kind, environ[variable])
    return result


def _is_no_setting(variable: str, value: str) -> bool:
    if _NO_SETTINGS.fullmatch(variable):
        return True
    return bool(_SERVICE.fullmatch(variable) and "__" not in variable and _SERVICE_VALUE.fullmatch(value))


def _find(model: type[BaseModel], known: dict[str, Any], parts: list[str]) -> tuple[FieldPath, Kind] | str:
    """Return the path and kind that a variable means, or what is wrong with its name."""
    kind = Kind(model)
    path: FieldPath = ()
    here: object = known
    for part in parts:
        name = _name(kind, here, part)
        below = step(kind, name) if name else None
        if name is None or below is None:
            return _unknown(model, known, parts)
        kind, path = below, (*path, name)
        here = (mapping(here) or {}).get(name)
    return path, kind


def _name(kind: Kind, known: object, part: str) -> str | None:
    """Return the field or free name that a part of a variable's name means."""
    if not part:
        return None
    if kind.section is not None:
        return part if part in kind.section.model_fields else None
    names = list(mapping(known) or {})
    same = [name for name in names if variable_part(name) == part.upper()]
    if same:
        return same[0]
    return None if get_close_matches(part, names, n=1, cutoff=_ALIKE) else part


def _unknown(model: type[BaseModel], known: dict[str, Any], parts: list[str]) -> str:
    names = list(variables(Kind(model), known))
    close = get_close_matches("__".join(parts).upper(), names, n=1, cutoff=0.6)
    hint = f"did you mean {PREFIX}{close[0]}?" if close else "docs/configuration.md lists the fields"
    return f"names no field of the configuration; {hint}"


def variable_part(name: str) -> str:
    """Return how a field or a free name is written within a variable's name."""
    return re.sub(r"[^A-Z0-9_]", "_", name.upper())


def variables(kind: Kind, known: object, name: str = "") -> Iterator[str]:
    """Yield the names, without `STOKER_`, of all variables that set a field below `kind`."""
    free = mapping(known) or {}
    names = kind.section.model_fields if kind.section is not None else free if kind.values is not None else ()
    for part in names:
        below = step(kind, part)
        if below is not None:
            yield name + variable_part(part)
            yield from variables(below, free.get(part), f"{name}{variable_part(part)}__")


def _read(result: Environment, variable: str, path: FieldPath, kind: Kind, text: str) -> None:
    try:
        result.values.append((variable, path, _value(kind, text.strip(), variable)))
    except ConfigError:
        message = f"not readable as {kind.allowed()}; write it as YAML or JSON, e.g. {{a: 1}} or [a, b]"
        result.problems.append(Problem(where(variable), dotted(path), message))


def _value(kind: Kind, text: str, variable: str) -> Any:
    if kind.nullable and text.lower() in {"null", "none", "~"}:
        return None
    if kind.is_list and not text.startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind.section is not None or kind.values is not None or kind.is_list:
        value = parse_value(text, variable)
        if not isinstance(value, list if kind.is_list else dict):
            raise ConfigError(f"{variable}: another shape")
        return cast("Any", value)
    return plain_value(text) if kind.base is Any else text
