"""How a token of the HTTP service is shown: never with its secret."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self

from posthorse.clock import moment
from posthorse.rules.tokens import Role
from posthorse.store.operations.tokens import TokenRow
from posthorse.views.base import View

TokenState = Literal["good", "revoked", "expired"]


class TokenView(View, frozen=True, kw_only=True):
    """A token: what its holder may do, and when it was used, to the hour."""

    id: str
    name: str
    state: TokenState
    role: Role
    tenant: str | None
    sees_arguments: bool
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    used_at: datetime | None

    @classmethod
    def of(cls, row: TokenRow) -> Self:
        """Show a token."""
        return cls(
            id=row.id,
            name=row.name,
            state="good" if row.is_good else "expired" if row.revoked_at is None else "revoked",
            role=Role(row.role),
            tenant=row.tenant,
            sees_arguments=bool(row.sees_arguments),
            created_at=moment(row.created_at),
            created_by=row.created_by,
            expires_at=None if row.expires_at is None else moment(row.expires_at),
            used_at=None if row.used_at is None else moment(row.used_at),
        )
