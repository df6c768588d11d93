"""Word the error for a value that does not fit: where it is, what is wrong, and how it looks.

This module knows nothing of what fits, and nothing of JSON.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from reprlib import Repr
from typing import get_args


class TypeMismatch(ValueError):
    """A value that does not fit. The path to it grows while the error propagates out of the containers."""

    def __init__(self, complaint: str, value: object) -> None:
        super().__init__(complaint)
        self.complaint = complaint
        self.value = value
        self.steps: list[str] = []

    def in_item(self, key: object) -> TypeMismatch:
        self.steps.append(f"[{short(key)}]")
        return self

    def in_key(self, key: object) -> TypeMismatch:
        self.steps.append(f"[key {short(key)}]")
        return self

    def in_field(self, name: object) -> TypeMismatch:
        self.steps.append(f".{name}")
        return self

    def message(self, root: str) -> str:
        """Return the sentence for users, such as `order.items[2].price must be int; got str '7'`."""
        steps = self.steps[::-1]
        if len(steps) > 20:
            steps = [*steps[:10], " … ", *steps[-10:]]
        came = "None" if self.value is None else f"{type_name(type(self.value))} {short(self.value)}"
        return f"{root}{''.join(steps)} {self.complaint}; got {came}"


class NotOfType(TypeMismatch):
    """The simplest mismatch; a union combines several of these."""

    def __init__(self, expected: str, value: object) -> None:
        super().__init__(f"must be {expected}", value)


PathStep = Callable[[TypeMismatch, object], TypeMismatch]
"""How a mismatch adds a step to its path: one of the methods above."""


def type_name(annotation: object) -> str:
    """Return an annotation as users write it, without modules: `list[Order]`, `str | None`."""
    if annotation is types.NoneType:
        return "None"
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    return re.sub(r"[\w.<>]+\.(\w+)", r"\1", repr(annotation))


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlevel = 3


def short(value: object) -> str:
    """Return a short `repr` for messages; never raises."""
    try:
        text = _SHORT.repr(value)
    except Exception:
        return f"<{type(value).__name__}>"
    return text if len(text) <= 100 else f"{text[:99]}…"
