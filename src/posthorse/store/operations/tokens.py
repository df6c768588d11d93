"""Tokens of the HTTP service, as the store keeps them. Times are microseconds on the store's clock."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from posthorse.store.base import QuerySteps, TypedQuery, creating_no_work, operation, query, single_operation


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that is about to be stored. span: for how long it counts; None for ever."""

    id: str
    name: str
    digest: str
    role: str
    tenant: str | None
    sees_arguments: bool
    created_by: str
    span: int | None


class TokenRow(NamedTuple):
    """A token as stored. It counts while `is_good`: it is neither revoked nor expired."""

    id: str
    name: str
    digest: str
    role: str
    tenant: str | None
    sees_arguments: int
    created_at: int
    created_by: str
    expires_at: int | None
    used_at: int | None
    revoked_at: int | None
    is_good: int
    is_stale: int
    """Whether its use was noted more than an hour ago, or never."""


TOKEN = TypedQuery("token", TokenRow)
TOKENS = TypedQuery("tokens", TokenRow)
HAS_TOKENS = TypedQuery("has_tokens", tuple[int])
END_TOKEN = TypedQuery("end_token", tuple[str])


@creating_no_work
@single_operation
def create_token(new: NewToken) -> QuerySteps[None]:
    """Store a token."""
    yield query("create_token", **msgspec.structs.asdict(new))


@creating_no_work
@operation
def rotate_token(old: str, new: NewToken, *, overlap: int) -> QuerySteps[bool]:
    """Store a token in place of an older one, which still counts for so many microseconds.

    Returns False, and stores nothing, if the older one does not count any more.
    """
    if not (yield from END_TOKEN(id=old, span=overlap)):
        return False
    yield query("create_token", **msgspec.structs.asdict(new))
    return True


@creating_no_work
@single_operation
def revoke_token(token: str) -> QuerySteps[None]:
    """Let a token not count any more, from now on."""
    yield query("revoke_token", id=token)


@creating_no_work
@single_operation
def note_use(token: str) -> QuerySteps[None]:
    """Note that a token was used, to the hour."""
    yield query("note_token_use", id=token)


@single_operation
def token(token: str) -> QuerySteps[TokenRow | None]:
    """Return a token by its id; None if there is none."""
    rows = yield from TOKEN(id=token)
    return rows[0] if rows else None


@single_operation
def tokens() -> QuerySteps[list[TokenRow]]:
    """Return all tokens, the oldest first."""
    return (yield from TOKENS())


@single_operation
def has_tokens() -> QuerySteps[bool]:
    """Return whether there is any token, also one that does not count any more."""
    return bool((yield from HAS_TOKENS()))
