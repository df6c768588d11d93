"""A bar of text."""

from __future__ import annotations

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(fraction: float, width: int) -> str:
    """A bar of so many columns, filled to the eighth of one; full only when everything is done."""
    eighths = min(int(max(0.0, fraction) * width * 8), width * 8 - (fraction < 1))
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] + "░" * (width - whole - 1) if whole < width else "")
