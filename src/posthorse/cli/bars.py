"""A bar of text."""

from __future__ import annotations


def bar(fraction: float, width: int) -> tuple[str, str]:
    """The done and the open part of a bar of so many columns; nothing is open only when everything is done."""
    halves = min(int(max(0.0, fraction) * width * 2), width * 2 - (fraction < 1))
    whole, half = divmod(halves, 2)
    done = "━" * whole + "╸" * half
    return done, "─" * (width - len(done))
