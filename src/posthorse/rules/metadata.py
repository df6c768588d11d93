"""Metadata: a small JSON object that travels with a job, such as the id of a request and of its user.

It is stored readably, with the options of the job.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, cast

import msgspec

from posthorse.errors import InvalidOption
from posthorse.rules.values.type_mismatch import short

MAX_METADATA = 4096
"""Bytes of JSON."""

MAX_DEPTH = 20

Metadata = Mapping[str, Any]

OF_RUNNING_JOB: ContextVar[Metadata | None] = ContextVar("posthorse_metadata", default=None)
"""The metadata of the job that runs in this context, if it has any."""


def checked_metadata(value: object) -> dict[str, Any]:
    """Return a copy of an object that is JSON as it is, with text as keys, of at most 4 KB. Raises InvalidOption."""
    if not isinstance(value, Mapping):
        raise InvalidOption(f'metadata is {short(value)}; give a dict with text as keys, such as {{"user": 7}}')
    copy = cast("dict[str, Any]", _copied(cast("object", value), "metadata", 0))
    size = len(msgspec.json.encode(copy))
    if size > MAX_METADATA:
        raise InvalidOption(
            f"metadata takes {size:,} bytes as JSON, more than the {MAX_METADATA:,} that a job may have; pass large "
            "values as arguments"
        )
    return copy


def _copied(value: object, name: str, depth: int) -> object:
    if depth > MAX_DEPTH:
        raise InvalidOption(f"{name[:40]}… is nested more than {MAX_DEPTH} levels deep; metadata is a small object")
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {_text(key, f"a key of {name}"): _copied(each, f"{name}[{key!r}]", depth + 1) for key, each in items}
    if isinstance(value, list | tuple):
        each_of = cast("list[object]", value)
        return [_copied(each, f"{name}[{place}]", depth + 1) for place, each in enumerate(each_of)]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, name)
    if (isinstance(value, int) and abs(value) < 2**63) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise InvalidOption(
        f"{name} is {short(value)}, which JSON does not have; metadata holds text, numbers, True, False, None, and "
        "lists and dicts of these"
    )


def _text(value: object, name: str) -> str:
    """Check a text that every database can store and look into."""
    try:
        if isinstance(value, str) and b"\0" not in value.encode():
            return value
    except UnicodeEncodeError:
        pass
    raise InvalidOption(f"{name} is {short(value)}; it must be text that a database can store")
