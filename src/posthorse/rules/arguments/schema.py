"""A JSON Schema of the arguments of a job, for programs that submit jobs and for forms."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from posthorse.rules.arguments.stored_form import Form


def schema_of(form: Form) -> dict[str, object]:
    """Return the schema of an object with the arguments by name; of a type that JSON Schema does not know, anything."""
    properties: dict[str, object] = {}
    definitions: dict[str, object] = {}
    fields = msgspec.structs.fields(form.struct)
    for field in fields:
        found = _schema(field.type)
        definitions |= cast("dict[str, object]", found.pop("$defs", {}))
        properties[field.encode_name] = found
    schema: dict[str, object] = {
        "type": "object",
        "properties": properties,
        "required": [field.encode_name for field in fields if field.required],
        "additionalProperties": False,
    }
    return schema | ({"$defs": definitions} if definitions else {})


def _schema(annotation: Any) -> dict[str, Any]:  # noqa: ANN401  # a type as users wrote it
    try:
        return msgspec.json.schema(annotation)
    except Exception:  # the user's classes may run code here, and raise anything
        return {}
