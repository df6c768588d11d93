"""Idempotency keys as users write them: a text with its scope and its time to live. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

from posthorse.clock import microseconds
from posthorse.errors import InvalidOption
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.values.type_mismatch import short

MAX_KEY = 512

MAX_STORED = 1_000
"""Maximum size, in bytes, of a key that is stored unchanged. An entry of PostgreSQL's index holds 2,704, including the
names of a tenant and a kind, of up to 800 each.
"""

DIGESTED = "*long:"

WHOLE_APP = "*app"
"""The scope of keys that count for all kinds. Names of kinds have no `*`, so no kind has this name."""


@dataclass(frozen=True, slots=True)
class Key:
    """An idempotency key: enqueuing again with the same key returns the same job; with other arguments it raises
    KeyConflict.

    scope: "kind", or "app" for a key that counts for all kinds together; keys of different tenants are always separate.
    ttl: how long after the enqueue the key counts (a duration); after that it may be used again. None means for ever.

    Raises InvalidOption.
    """

    text: str
    scope: Literal["kind", "app"] = field(default="kind", kw_only=True)
    ttl: Duration | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not _is_key(self.text):
            raise InvalidOption(
                f"key is {short(self.text)}; it must be a text of 1 to {MAX_KEY} characters without NUL and lone "
                "surrogates"
            )
        if self.scope not in ("kind", "app"):
            raise InvalidOption(f'Key.scope is {short(self.scope)}; it must be "kind" or "app"')
        if self.ttl is not None and microseconds(as_timedelta(self.ttl, name="Key.ttl")) <= 0:
            raise InvalidOption("Key.ttl must be longer than zero; leave it out for a key that counts for ever")

    @property
    def span(self) -> int | None:
        """The microseconds for which the key counts."""
        return None if self.ttl is None else microseconds(as_timedelta(self.ttl, name="Key.ttl"))


def stored_key(scope: str, key: str) -> tuple[str, str]:
    """Return the scope and the key as stored; a key that is too long for the index is replaced by its digest.

    Digests have scopes of their own, so that a digest is never taken for a key that a user wrote.
    """
    text = key.encode()
    if len(text) <= MAX_STORED:
        return scope, key
    return f"{DIGESTED}{scope}", sha256(text).hexdigest()


def as_key(value: object) -> Key:
    """Convert a text to a Key; return a Key unchanged. Raises InvalidOption."""
    return value if isinstance(value, Key) else Key(value)  # type: ignore[arg-type]  # checked there


def _is_key(text: object) -> bool:
    if not isinstance(text, str) or not 0 < len(text) <= MAX_KEY or "\0" in text:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in text)
