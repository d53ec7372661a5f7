"""What is generated from the models of the configuration: the reference's tables and the JSON Schema.

`python -m stoker.worker.reference` in a checkout writes both anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from stoker.core.settings.environment import OLDER_NAMES, OLDER_NAMES_TOO
from stoker.core.settings.fields import Kind, elements, field_kind
from stoker.core.settings.policy import BUILTIN_TYPES, Policy, parse_bytes, parse_seconds
from stoker.schedules.plan import default_entries
from stoker.worker.config import StokerConfig, config_schema

_ROOT = Path(__file__).resolve().parent.parent
PAGE = _ROOT / "docs" / "configuration.md"
SCHEMA = _ROOT / "worker" / "stoker.schema.json"

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_SIZES = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_FREE_NAMES = {"types": "<type>", "schedule": "<name>", "processes": "<name>", "options": "<name>"}
_OLDER = {".".join(map(str, path)): name for name, path in (*OLDER_NAMES.items(), *OLDER_NAMES_TOO.items())}


def fields_table() -> str:
    """Return all fields with what they take, their defaults and meanings, as a table in Markdown."""
    rows = ["| field | takes | default | meaning |", "|---|---|---|---|"]
    for path, kind, info in _fields(Kind(StokerConfig), ""):
        meaning = " ".join((info.description or "").split())
        if path in _OLDER:
            meaning += f" Also `{_OLDER[path]}`."
        rows.append(
            f"| `{path}` | {_takes(kind)} | {_default(path, kind, info)} | {meaning.replace('|', '&#124;')} |"
        )
    return "\n".join(rows)


def types_table() -> str:
    """Return what sets the built-in types apart, as a table in Markdown."""
    rows = ["| type | `ttl` | `kind` | `warm.mode` | older variable |", "|---|---|---|---|---|"]
    for name, own in BUILTIN_TYPES.items():
        policy = Policy.model_validate(own)
        older = _OLDER.get(f"types.{name}.ttl", "")
        rows.append(f"| `{name}` | {duration(policy.ttl)} | {policy.kind} | {policy.warm.mode} | `{older}` |")
    return "\n".join(rows)


def schedule_table() -> str:
    """Return the default schedule as a table in Markdown."""
    rows = ["| entry | task | when | jitter | options |", "|---|---|---|---|---|"]
    for name, entry in default_entries().items():
        when = f"every {duration(entry.every)}" if entry.every else f"`{entry.cron}`"
        options = f"`{json.dumps(entry.options)}`" if entry.options else ""
        rows.append(f"| `{name}` | `{entry.task}` | {when} | {duration(entry.jitter)} | {options} |")
    return "\n".join(rows)


def duration(seconds: float) -> str:
    """Return a length of time as a configuration would have it.

    >>> duration(7200), duration(0.25), duration(90), duration(0)
    ('2h', '250ms', '90s', '0s')
    """
    if seconds and seconds < 1:
        return f"{seconds * 1000:g}ms"
    for unit, length in _UNITS:
        if seconds and seconds % length == 0:
            return f"{seconds // length:g}{unit}"
    return f"{seconds:g}s"


def renew(page: str) -> str:
    """Return the reference page with its generated parts as they are now."""
    for name, table in {"fields": fields_table, "types": types_table, "schedule": schedule_table}.items():
        before, mark, rest = page.partition(f"<!-- generated: {name} -->\n")
        _, end, after = rest.partition("\n<!-- end -->")
        page = f"{before}{mark}{table()}{end}{after}"
    return page


def schema_text() -> str:
    """Return the JSON Schema as it is committed."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


def _fields(kind: Kind, path: str) -> Iterator[tuple[str, Kind, FieldInfo]]:
    section = kind.section
    for name, info in section.model_fields.items() if section else ():
        below, here = field_kind(info), f"{path}.{name}".strip(".")
        values = below.values
        if below.section:
            yield from _fields(below, here)
        elif values and values.section:
            yield from _fields(values, f"{here}.{_FREE_NAMES[name]}")
        else:
            yield here, below, info


def _takes(kind: Kind) -> str:
    null = " or null" if kind.nullable else ""
    if kind.reads(parse_seconds):
        return f"time{kind.range_text(before=', ')}{null}"
    if kind.reads(parse_bytes):
        return f"size{null}"
    return "list" if kind.is_list else kind.allowed()


def _default(path: str, kind: Kind, info: FieldInfo) -> str:
    if info.is_required():
        return "must be given"
    if path == "types.<type>.ttl":
        return "`default_ttl`"
    value = info.get_default(call_default_factory=True)
    if value is None:
        return "`null`"
    if kind.is_list:
        return ", ".join(f"`{duration(item)}`" for item in elements(value)) or "none"
    return f"`{_text(kind, value)}`"


def _text(kind: Kind, value: Any) -> str:
    if kind.reads(parse_seconds):
        return duration(value)
    if kind.reads(parse_bytes):
        return next((f"{value // size}{unit}" for unit, size in _SIZES if value % size == 0), str(value))
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


if __name__ == "__main__":
    PAGE.write_text(renew(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    SCHEMA.write_text(schema_text(), encoding="utf-8")
