"""Idempotency keys as people write them: a text, with where it counts and for how long. Pure."""

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
"""Bytes of a key that the store keeps as it is. An entry of an index of PostgreSQL has room for 2,704: beside it there
are the names of a tenant and a kind, of up to 800 each."""

DIGESTED = "*long:"

WHOLE_APP = "*app"
"""Where keys stand that count for all kinds; `*` is no part of any name, so no kind is called so."""


@dataclass(frozen=True, slots=True)
class Key:
    """An idempotency key: the same key gives the same job, and other arguments under it are a KeyConflict.

    scope: "kind", or "app" for a key that counts for all kinds together; a tenant's keys are always its own.
    ttl: how long after the enqueue the key counts; after that it may be used again. None is for ever.
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
        """Microseconds for which the key counts."""
        return None if self.ttl is None else microseconds(as_timedelta(self.ttl, name="Key.ttl"))


def stored_key(scope: str, key: str) -> tuple[str, str]:
    """The scope and the key as the store has them: a key that is too long for its index is known by its digest.

    Such keys have scopes of their own, so that no digest is taken for a key that somebody wrote.
    """
    text = key.encode()
    if len(text) <= MAX_STORED:
        return scope, key
    return f"{DIGESTED}{scope}", sha256(text).hexdigest()


def as_key(value: object) -> Key:
    """A key from its text, or as it is. Raises InvalidOption."""
    return value if isinstance(value, Key) else Key(value)  # type: ignore[arg-type]  # checked there


def _is_key(text: object) -> bool:
    if not isinstance(text, str) or not 0 < len(text) <= MAX_KEY or "\0" in text:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in text)
