"""What all views share: they are frozen, and each has exactly one JSON form.

Times are in RFC 3339 with their offset, spans in seconds. Fields are added, never renamed or removed, because scripts
read them; the order of the fields is the order in JSON.
"""

from __future__ import annotations

import msgspec


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A thing as programs see it, at one moment."""

    def to_json(self) -> bytes:
        """Encode it; `msgspec.json.decode(text, type=…)` of the same class reads it back."""
        return _encode(self)


_encode = msgspec.json.Encoder().encode
