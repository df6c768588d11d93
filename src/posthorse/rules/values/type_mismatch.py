"""The words for a value that does not fit: where it stands, what is wrong with it, and how it looks.

Knows nothing of what fits, and nothing of JSON.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from reprlib import Repr
from typing import get_args


class TypeMismatch(ValueError):
    """A value that does not fit; the way to it grows while the error climbs out of what contains it."""

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
        """The sentence for people, such as `order.items[2].price must be int; got str '7'`."""
        steps = self.steps[::-1]
        if len(steps) > 20:
            steps = [*steps[:10], " … ", *steps[-10:]]
        came = "None" if self.value is None else f"{type_name(type(self.value))} {short(self.value)}"
        return f"{root}{''.join(steps)} {self.complaint}; got {came}"


class NotOfType(TypeMismatch):
    """The plainest misfit; a union says the sum of these."""

    def __init__(self, expected: str, value: object) -> None:
        super().__init__(f"must be {expected}", value)


Step = Callable[[TypeMismatch, object], TypeMismatch]
"""How a misfit takes the step into a part: one of the methods above."""


def type_name(annotation: object) -> str:
    """An annotation as people write it, without modules: `list[Order]`, `str | None`."""
    if annotation is types.NoneType:
        return "None"
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    return re.sub(r"[\w.<>]+\.(\w+)", r"\1", repr(annotation))


_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlevel = 3


def short(value: object) -> str:
    """A `repr` for messages: brief, and never an error itself."""
    try:
        text = _SHORT.repr(value)
    except Exception:
        return f"<{type(value).__name__}>"
    return text if len(text) <= 100 else f"{text[:99]}…"
