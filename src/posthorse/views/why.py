"""How the reasons are shown why a job does not run."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

import msgspec

from posthorse.rules.job import State
from posthorse.rules.why.answer import Estimate, Reason, Why
from posthorse.views.base import View


class EstimateView(View, frozen=True, kw_only=True):
    """When a job will start: both moments are null if it is unknown, `latest` alone if only the earliest is certain."""

    earliest: datetime | None
    latest: datetime | None
    basis: str

    @classmethod
    def of(cls, start: Estimate) -> Self:
        """Show an estimate."""
        return cls(earliest=start.earliest, latest=start.latest, basis=start.basis)


class ReasonView(View, frozen=True, kw_only=True):
    """One reason; the fields of `facts` depend on its code, and moments in them are texts."""

    code: str
    sentence: str
    facts: dict[str, Any]
    advice: str | None
    command: str | None
    start: EstimateView | None

    @classmethod
    def of(cls, reason: Reason) -> Self:
        """Show a reason."""
        return cls(
            code=str(reason.code),
            sentence=reason.sentence,
            facts=msgspec.to_builtins(reason.facts),
            advice=reason.advice,
            command=reason.command,
            start=None if reason.start is None else EstimateView.of(reason.start),
        )


class WhyView(View, frozen=True, kw_only=True):
    """Why a job does not run, at one moment: the leading reason first."""

    id: str
    state: State
    kind: str
    queue: str
    at: datetime
    reasons: tuple[ReasonView, ...]
    start: EstimateView | None

    @classmethod
    def of(cls, why: Why) -> Self:
        """Show an answer."""
        return cls(
            id=why.job,
            state=why.state,
            kind=why.kind,
            queue=why.queue,
            at=why.at,
            reasons=tuple(ReasonView.of(reason) for reason in why.reasons),
            start=None if why.start is None else EstimateView.of(why.start),
        )
