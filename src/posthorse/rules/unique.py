"""The identity of a job: what makes two jobs of one kind the same. Pure."""

from __future__ import annotations

from hashlib import blake2b

import msgspec


def identity(arguments: str) -> str:
    """A short text, equal for equal arguments, whatever the order of keys in the JSON that they are stored in."""
    canonical = msgspec.json.encode(msgspec.json.decode(arguments), order="deterministic")
    return blake2b(canonical, digest_size=20).hexdigest()


def scope(kind: str) -> str:
    """Where identities of this kind stand among keys; `*` is no part of any name, so it is not a key's own."""
    return f"*unique:{kind}"
