"""Tokens of the HTTP service: make them, replace them, end them, and tell who shows one."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

from posthorse.app.verbs import Verb, commit, look_up
from posthorse.clock import microseconds
from posthorse.errors import InvalidOption
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.job import checked_name
from posthorse.rules.tokens import Role, ShownToken, checked_role, read_token
from posthorse.store.operations import tokens as stored
from posthorse.store.operations.tokens import NewToken, TokenRow

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

ID_BYTES, SECRET_BYTES = 6, 32


class Wanted(NamedTuple):
    """What a token is for. expires: after which span; None for never. by: who makes it."""

    name: str
    role: Role | str
    by: str
    tenant: str | None = None
    sees_arguments: bool = False
    expires: Duration | None = None


def create_token(app: Posthorse, wanted: Wanted) -> Verb[ShownToken]:
    """Make a token. Its secret is not stored, so this is the only time that it is known. Raises InvalidOption."""
    shown, new = _made(wanted)
    yield from commit(app, stored.create_token(new))
    return shown


def rotate_token(
    app: Posthorse, token_id: str, *, by: str, overlap: Duration = "24h", expires: Duration | None = None
) -> Verb[ShownToken]:
    """Make a token for the same purpose; the older one still counts for so long. Raises InvalidOption."""
    old = yield from find_token(app, token_id)
    shown, new = _made(Wanted(old.name, old.role, by, old.tenant, bool(old.sees_arguments), expires))
    span = microseconds(as_timedelta(overlap, name="overlap"))
    if not (yield from commit(app, stored.rotate_token(old.id, new, overlap=span))):
        raise InvalidOption(f"the token {old.id} ({old.name}) was revoked or has expired, so create a new one")
    return shown


def revoke_token(app: Posthorse, token_id: str) -> Verb[TokenRow]:
    """End a token now. Raises InvalidOption."""
    row = yield from find_token(app, token_id)
    yield from commit(app, stored.revoke_token(row.id))
    return row


def find_token(app: Posthorse, token_id: str) -> Verb[TokenRow]:
    """Return a token by its id. Raises InvalidOption."""
    row = yield from look_up(app, stored.token(token_id))
    if row is None:
        raise InvalidOption(f"there is no token {token_id[:60]!r}; `posthorse tokens` lists those that there are")
    return row


def token_shown(app: Posthorse, text: str) -> Verb[TokenRow | None]:
    """Return the token that a program shows, and note its use; None if it does not count."""
    shown = read_token(text)
    if shown is None:
        return None
    row = yield from look_up(app, stored.token(shown.id))
    if row is None or not shown.is_of(row.digest) or not row.is_good:
        return None
    if row.is_stale:
        yield from commit(app, stored.note_use(row.id))
    return row


def _made(wanted: Wanted) -> tuple[ShownToken, NewToken]:
    shown = ShownToken(secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES))
    expires = None if wanted.expires is None else microseconds(as_timedelta(wanted.expires, name="expires"))
    if expires is not None and expires <= 0:
        raise InvalidOption(
            "expires must be longer than zero; leave it out for a token that counts until it is revoked"
        )
    return shown, NewToken(
        id=shown.id,
        name=checked_name(wanted.name, what="the name of a token"),
        digest=shown.digest,
        role=checked_role(wanted.role).value,
        tenant=None if wanted.tenant is None else checked_name(wanted.tenant, what="tenant"),
        sees_arguments=wanted.sees_arguments,
        created_by=wanted.by,
        span=expires,
    )
