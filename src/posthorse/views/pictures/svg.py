"""SVG as text: elements, attributes and numbers, with everything escaped that came from outside."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

_REFUSED = re.compile(
    "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"  # what XML cannot hold
    "|[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"  # controls, and marks that turn the text around them
)


def plain(text: str) -> str:
    """Return a text as content of an element: escaped, without characters that XML cannot hold or that turn text."""
    return escape(_REFUSED.sub("\ufffd", text), quote=False)


def element(name: str, /, *content: str, **attributes: str | float | None) -> str:
    """Return an element; `content` is markup already. Underscores in names of attributes become hyphens, one at the end
    is left out, and an attribute that is None, too.
    """
    said = "".join(
        f' {key.removesuffix("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{said}>{''.join(content)}</{name}>" if content else f"<{name}{said}/>"


def number(value: float) -> str:
    """Return a coordinate with at most two decimals."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def label(text: str, x: float, y: float, *, anchor: str = "start", class_: str = "label") -> str:
    """Return a line of text; `anchor` is start, middle or end."""
    return element("text", plain(text), x=x, y=y, text_anchor=None if anchor == "start" else anchor, class_=class_)


def path(points: Iterable[tuple[float, float]], *, is_closed: bool = False) -> str:
    """Return the `d` of a path through the points."""
    joined = "L".join(f"{number(x)} {number(y)}" for x, y in points)
    return f"M{joined}{'Z' if is_closed else ''}"


def picture(name: str, width: float, height: float, title: str, description: str, *content: str) -> str:
    """Return a whole picture that screen readers announce; `name` is unique on its page."""
    return element(
        "svg",
        element("title", plain(title), id=f"{name}-title"),
        element("desc", plain(description), id=f"{name}-desc"),
        *content,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {number(width)} {number(height)}",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
        class_="picture",
    )


def _value(value: str | float) -> str:
    return escape(_REFUSED.sub("\ufffd", value)) if isinstance(value, str) else number(value)
