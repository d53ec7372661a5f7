"""The JSON Schema of a settings model, as the reader of files sees it, for editors."""

from __future__ import annotations

from typing import Any

from stoker.core.settings.fields import elements, mapping
from stoker.core.settings.policy import Model

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_TEXTS = {
    "number": r"^\s*([0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)?\s*)+$",
    "integer": r"^\s*[0-9]+\s*([kKmMgG][iI]?)?[bB]?\s*$",
}


def json_schema(model: type[Model], *, title: str) -> dict[str, Any]:
    """Return the schema of a file that holds `model`, with the attributes' docstrings as descriptions."""
    schema = model.model_json_schema()
    _tidy(schema, schema["$defs"])
    return {"$schema": _DIALECT, "title": title, **schema}


def _tidy(node: object, definitions: dict[str, Any]) -> None:
    for part in elements(node):
        _tidy(part, definitions)
    fields = mapping(node)
    if fields is None:
        return
    if isinstance(fields.get("title"), str):
        del fields["title"]  # the field's name again
    if isinstance(fields.get("default"), dict):
        del fields["default"]  # its fields say theirs
    for part in fields.values():
        _tidy(part, definitions)
    _bound_quantity(fields)
    for holder in ("properties", "patternProperties"):
        for name, part in (mapping(fields.get(holder)) or {}).items():
            fields[holder][name] = _may_be_empty(part, definitions)
    if "patternProperties" in fields:
        fields["additionalProperties"] = False
    elif "additionalProperties" in fields:
        fields["additionalProperties"] = _may_be_empty(fields["additionalProperties"], definitions)


def _bound_quantity(fields: dict[str, Any]) -> None:
    """Put the bounds of a length of time or a size where a validator looks for them: on its number."""
    parts = [part for part in map(mapping, fields.get("anyOf", ())) if part is not None]
    for number in parts:
        if number.get("type") in _TEXTS and {"type": "string"} in parts:
            number.update({_BOUNDS[name]: fields.pop(name) for name in _BOUNDS if name in fields})
            parts[parts.index({"type": "string"})]["pattern"] = _TEXTS[number["type"]]


def _may_be_empty(part: Any, definitions: dict[str, Any]) -> Any:
    """Allow null for a section: a file may give its name alone, or with nothing but comments below."""
    fields = mapping(part)
    if fields is None:
        return part
    reference = fields.get("$ref")
    if isinstance(reference, str) and "required" not in definitions[reference.rpartition("/")[2]]:
        return {"anyOf": [{"$ref": fields.pop("$ref")}, {"type": "null"}], **fields}
    if fields.get("type") == "object":
        return {**fields, "type": ["object", "null"]}
    return part
