"""Who makes a request: the application around tells it, or a token, or that only this machine can make requests."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

from starlette.requests import Request

from posthorse.app.tokens import token_shown
from posthorse.app.verbs import adrive
from posthorse.rules.tokens import Role
from posthorse.store.operations.tokens import TokenRow, has_tokens
from posthorse.web.access import EVERYTHING, Access
from posthorse.web.problems import Problem, refused

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

Authenticate: TypeAlias = Callable[[Request], Access | Awaitable[Access | None] | None]
"""Tells who makes a request; None if that is unknown. It may be a coroutine function."""

NO_LOGIN = (
    "nothing says who may use this service: mount it with service(app, authenticate=…), or make a token with "
    "`posthorse tokens create`"
)


class Login:
    """How one service learns who makes a request.

    is_open: whether every request may do everything while the store has no tokens, because only this machine can make
    any.
    """

    def __init__(self, app: Posthorse, authenticate: Authenticate | None, *, is_open: bool) -> None:
        self._app = app
        self._authenticate = authenticate
        self._is_open = is_open

    async def access_of(self, request: Request) -> Access:
        """Return who makes a request, and what they may do. Raises Problem."""
        if self._authenticate is not None:
            found = self._authenticate(request)
            access = await found if inspect.isawaitable(found) else found
            if access is not None:
                return access
        token = _bearer_of(request)
        if token is not None:
            row = await adrive(token_shown(self._app, token))
            if row is not None:
                return _access_of(row)
            raise _unauthenticated("the token is unknown, was revoked or has expired")
        if self._authenticate is not None or await self._app.store.aread(has_tokens()):
            raise _unauthenticated("it is unknown who makes the request")
        if self._is_open:
            return EVERYTHING
        raise refused(NO_LOGIN)


def _bearer_of(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _access_of(row: TokenRow) -> Access:
    return Access(name=row.name, role=Role(row.role), tenant=row.tenant, sees_arguments=bool(row.sees_arguments))


def _unauthenticated(detail: str) -> Problem:
    return Problem(401, "unauthenticated", "Log in first", detail, headers={"WWW-Authenticate": "Bearer"})
