"""Sizes of memory as users write them: bytes, or text such as "512MB", "1.5 GB"; kB, MB, GB count by 1,000."""

from __future__ import annotations

import re

from posthorse.errors import InvalidOption
from posthorse.rules.values.type_mismatch import short

Size = int | str

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")
_MAX_SIZE = 2**60


def as_bytes(value: Size, *, name: str) -> int:
    """Convert a size to bytes, 1 or more; an error names the option `name`. Raises InvalidOption."""
    size: float = -1
    if isinstance(value, str):
        found = _SIZE.fullmatch(value.strip().lower())
        if found and found[2] in _UNITS:
            size = float(found[1]) * _UNITS[found[2]]
    elif type(value) is int:
        size = value
    if not 1 <= size <= _MAX_SIZE:
        raise InvalidOption(f'{name} is {short(value)}; give bytes, or text such as "512MB" or "2GB"')
    return int(size)


def size_text(size: int) -> str:
    """Return a size as a user would write it: "512 MB", "1.6 GB"."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f}".removesuffix(".0") + f" {unit}"
    return f"{size} bytes"
