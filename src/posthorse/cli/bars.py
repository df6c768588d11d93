"""A bar of text."""

from __future__ import annotations


def bar(fraction: float, width: int) -> tuple[str, str]:
    """The done and the open part of a bar of so many columns; nothing is open only when everything is done."""
    whole, half = divmod(int(fraction * width * 2), 2)
    done = "━" * whole + "╸" * half
    return done, "─" * (width - len(done))
