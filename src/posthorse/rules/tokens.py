"""Tokens: what programs show to the HTTP service to say who they are, and what a role may do. Pure.

A token is `ph_ID_SECRET`. The store keeps the id and the SHA-256 of the secret. A slow hash would add nothing, because
the secret has 256 random bits.
"""

from __future__ import annotations

import hmac
import re
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

from posthorse.errors import InvalidOption
from posthorse.rules.values.type_mismatch import short

_TOKEN = re.compile(r"ph_([0-9a-f]{12})_([A-Za-z0-9_-]{43})", re.ASCII)


class Role(StrEnum):
    """What a caller may do.

    viewer: read states, figures and errors. submitter: submit jobs, and read what it submitted itself.
    operator: what a viewer may, and steer jobs, queues and schedules. admin: all.
    """

    VIEWER = "viewer"
    SUBMITTER = "submitter"
    OPERATOR = "operator"
    ADMIN = "admin"


class ShownToken(NamedTuple):
    """A token as a program shows it."""

    id: str
    secret: str

    def __str__(self) -> str:
        return f"ph_{self.id}_{self.secret}"

    @property
    def digest(self) -> str:
        """What the store keeps of the secret."""
        return sha256(self.secret.encode()).hexdigest()

    def is_of(self, digest: str) -> bool:
        """Return whether the secret is the one of a stored digest, in the same time for every wrong one."""
        return hmac.compare_digest(self.digest, digest)


def read_token(text: str) -> ShownToken | None:
    """Return a token that was shown; None for a text that cannot be one."""
    found = _TOKEN.fullmatch(text)
    return None if found is None else ShownToken(found[1], found[2])


def checked_role(value: object) -> Role:
    """Check a role, or its name. Raises InvalidOption."""
    try:
        return Role(value)  # type: ignore[arg-type]  # any other value raises
    except ValueError:
        raise InvalidOption(f"role is {short(value)}; it is one of {', '.join(Role)}") from None
