"""Warn in the log that jobs which callers wait for would be taken by no living worker.

A thousand callers may wait for jobs of one kind. So one of them asks at a time, and each gap is logged once.
"""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING

from posthorse.app.verbs import Verb
from posthorse.clock import monotonic
from posthorse.errors import PosthorseError
from posthorse.rules.why.answer import UNSERVED, clause

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

log = logging.getLogger("posthorse.app")

Gap = tuple[str, str]
"""A kind, and the code of the reason why no worker takes such jobs."""


class UnservedWarnings:
    """The warnings of one process, for all callers that wait for jobs of one application."""

    def __init__(self) -> None:
        self._asked_at = -inf
        self._told: set[Gap] = set()

    def has_turn(self, interval: float) -> bool:
        """Take the turn to ask; return False if a caller had it less than `interval` seconds ago."""
        now = monotonic()
        if now < self._asked_at + interval:
            return False
        self._asked_at = now
        return True

    def look_at(self, app: Posthorse, job: str) -> Verb[None]:
        """Log that no living worker would take the job, unless that was logged for its kind."""
        from posthorse.app.why import why_of  # here, because most processes never ask

        try:
            why = yield from why_of(app, job)
        except PosthorseError:
            return
        leading = why.leading
        gap = why.kind, leading.code
        if leading.code not in UNSERVED:
            self._told = {told for told in self._told if told[0] != why.kind}
        elif gap not in self._told:
            self._told.add(gap)
            words = "job %s (%s) is waited for, and it does not run: %s; %s: %s"
            log.warning(words, job, why.kind, clause(leading.sentence), leading.advice, leading.command)
