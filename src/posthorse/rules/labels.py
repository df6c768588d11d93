"""Labels: what a queue requires of the workers that serve it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from posthorse.errors import InvalidOption
from posthorse.rules.values.type_mismatch import short

MAX_LABELS = 50

_LABEL = re.compile(r"[\w.:/@+-]{1,200}")


def as_labels(value: object) -> dict[str, str]:
    """Convert a table, "gpu=yes,zone=a", or a list of such texts to labels. Raises InvalidOption."""
    if isinstance(value, str):
        value = value.split(",")
    if isinstance(value, list | tuple):
        value = _label_table([str(part) for part in cast("list[object]", value)])
    if not isinstance(value, Mapping) or len(cast("Mapping[object, object]", value)) > MAX_LABELS:
        shown = short(value)  # pyright: ignore[reportUnknownArgumentType]  # it may hold anything
        raise InvalidOption(f'labels are {shown}; write up to {MAX_LABELS} as {{"instance_type": "c5.xlarge"}}')
    labels = cast("Mapping[object, object]", value)
    for name, text in labels.items():
        if not all(isinstance(part, str) and _LABEL.fullmatch(part) for part in (name, text)):
            raise InvalidOption(
                f"label {short(name)} is {short(text)}; name and value must be texts of letters, digits and "
                ". : / @ + - _"
            )
    return cast("dict[str, str]", dict(labels))


def _label_table(texts: list[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for text in texts:
        name, separator, value = (part.strip() for part in text.partition("="))
        if not separator:
            raise InvalidOption(f'label {short(text)} has no value; write NAME=VALUE, such as "gpu=yes"')
        if name in labels:
            raise InvalidOption(f"label {name!r} has two values; give each label one")
        labels[name] = value
    return labels
