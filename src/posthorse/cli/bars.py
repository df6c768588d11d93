"""A bar of text."""

from __future__ import annotations


def bar(fraction: float, width: int) -> tuple[str, str]:
    """Return the done and the open part of a bar; the open part is empty only if everything is done."""
    whole, half = divmod(int(fraction * width * 2), 2)
    done = "━" * whole + "╸" * half
    return done, "─" * (width - len(done))
