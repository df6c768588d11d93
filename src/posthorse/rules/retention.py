"""How long jobs that are over stay in the store, who says so, and which of them may go. Pure.

A kind wins over its queue, and a queue over the application; each ending of a job is looked up by itself. Times are in
microseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, NamedTuple, cast

import msgspec

from posthorse.clock import SECOND, microseconds
from posthorse.errors import InvalidOption
from posthorse.rules.durations import Duration, as_text, as_timedelta
from posthorse.rules.job import State
from posthorse.rules.values.named_fields import named_fields

Span = Duration | Literal["forever"]
RetentionPart = Literal["completed", "failed", "cancelled", "results", "logs"]

FOREVER: Literal["forever"] = "forever"

NOTICE = 3600 * SECOND
"""How long it takes until a much shorter retention applies, so that a mistake can be taken back."""

ENDINGS: tuple[RetentionPart, ...] = ("completed", "failed", "cancelled", "results", "logs")


@dataclass(frozen=True, slots=True)
class Keep:
    """How long jobs stay after their end; then they leave the store with all that belongs to them.

    completed, failed, cancelled: a duration for jobs that ended in this state, or "forever"; None for what the queue
    says, or else the application. Failed jobs are the dead letters.
    results: how long the result of a completed job stays, if it should leave before the job.
    logs: how long what a job logged stays after its end, if it should leave before the job.

    Durations are seconds, timedelta or text. Raises InvalidOption.
    """

    completed: Span | None = None
    failed: Span | None = None
    cancelled: Span | None = None
    results: Span | None = None
    logs: Span | None = None

    def __post_init__(self) -> None:
        for name in ENDINGS:
            if (value := getattr(self, name)) is not None:
                _micros_of(value, name=f"keep.{name}")

    def as_words(self) -> dict[str, str]:
        """Return it as it is stored and shown: only what it says."""
        return {name: _in_words(value) for name in ENDINGS if (value := getattr(self, name)) is not None}

    def __str__(self) -> str:
        words = self.as_words()
        if words.keys() == {"completed", "cancelled"} and words["completed"] == words["cancelled"]:
            return words["completed"]
        return ",".join(f"{ending}={span}" for ending, span in words.items())

    def over(self, other: Keep) -> Keep:
        """Return what results if `other` counts where this says nothing."""
        return Keep(**{**other.as_words(), **self.as_words()})

    def micros(self, ending: RetentionPart) -> float | None:
        """Return how long jobs with an ending stay; infinity for ever, None if this says nothing of them."""
        value = getattr(self, ending)
        return None if value is None else _micros_of(value, name=f"keep.{ending}")


def as_keep(value: object) -> Keep:
    """Convert an option: a Keep, a table of its fields, the same as text such as "completed=7d,failed=forever", or one
    duration for completed and cancelled jobs.

    Raises InvalidOption.
    """
    if isinstance(value, Keep):
        return value
    if (fields := named_fields(value, ENDINGS, of="keep")) is not None:
        return Keep(**cast("dict[str, Span]", fields))
    span = cast("Span", value)
    _micros_of(span, name="keep")
    return Keep(completed=span, cancelled=span)


class RetentionTerms(NamedTuple):
    """How long jobs of one kind and queue stay, in microseconds; infinity for ever."""

    completed: float
    failed: float
    cancelled: float
    results: float
    logs: float

    @property
    def shortest(self) -> float:
        """The shortest of them: what is younger cannot go."""
        return min(self)

    def times(self, factor: float) -> RetentionTerms:
        """Return terms that are longer by a factor."""
        return RetentionTerms(*(factor * span for span in self))


def terms_of(*layers: Keep | None) -> RetentionTerms:
    """Return the terms that result from these layers; for each ending the first layer that says something counts."""
    return RetentionTerms(*(_first(layers, ending) for ending in ENDINGS))


def may_go(state: State, finished_at: int | None, terms: RetentionTerms, now: int) -> bool:
    """Return whether a job is over and has stayed long enough."""
    if not state.is_final or finished_at is None:
        return False
    return now - finished_at > terms[ENDINGS.index(cast("RetentionPart", state.value))]


def result_may_go(state: State, finished_at: int | None, terms: RetentionTerms, now: int) -> bool:
    """Return whether the result of a completed job has stayed long enough."""
    return state is State.COMPLETED and finished_at is not None and now - finished_at > terms.results


def logs_may_go(state: State, finished_at: int | None, terms: RetentionTerms, now: int) -> bool:
    """Return whether what a job logged has stayed long enough."""
    return state.is_final and finished_at is not None and now - finished_at > terms.logs


class Declaration(msgspec.Struct, frozen=True, omit_defaults=True):
    """What code says of an application, a kind or a queue, as it is stored.

    words: what applies from `since` on. before: what applies until then.
    """

    words: Mapping[str, str]
    since: int = 0
    before: Mapping[str, str] = {}

    def at(self, now: int) -> Keep:
        """Return what applies at a moment."""
        return as_keep(self.words if now >= self.since else self.before)


def declare(earlier: Declaration | None, keep: Keep, now: int) -> Declaration:
    """Return what to store when code says something; `earlier` is what was stored before, and stays if it is the same.

    If jobs could leave earlier than before, this applies after a notice.
    """
    words = keep.as_words()
    if earlier is not None and earlier.words == words:
        return earlier
    before = Keep() if earlier is None else earlier.at(now)
    if any(_may_shorten(keep.micros(ending), before.micros(ending)) for ending in ENDINGS):
        return Declaration(words, now + NOTICE, before.as_words())
    return Declaration(words)


class Live(NamedTuple):
    """What users set on a queue in the running system, and when they last changed its settings."""

    keep: Keep
    changed_at: int


class Retention(msgspec.Struct, frozen=True):
    """All that is declared about how long jobs stay, by whom."""

    application: Declaration | None = None
    kinds: Mapping[str, Declaration] = {}
    queues: Mapping[str, Declaration] = {}
    live: Mapping[str, Live] = {}

    def terms(self, kind: str, queue: str, now: int) -> RetentionTerms:
        """Return how long jobs of a kind stay that were in a queue. Without any declaration they stay for ever."""
        said = self._without_live(kind, queue, now)
        live = self.live.get(queue)
        if live is None:
            return said
        changed = terms_of(_at(self.kinds.get(kind), now), live.keep, _at(self.application, now))
        if now >= live.changed_at + NOTICE:
            return changed
        return RetentionTerms(*map(max, said, changed))  # a longer one applies at once

    def shortest(self, now: int) -> float:
        """Return the shortest span that anybody says: what is younger stays, whatever its kind and queue."""
        keeps = [_at(one, now) for one in (self.application, *self.kinds.values(), *self.queues.values())]
        keeps += [one.keep for one in self.live.values()]
        return min((terms_of(keep).shortest for keep in keeps), default=math.inf)

    def _without_live(self, kind: str, queue: str, now: int) -> RetentionTerms:
        layers = (self.kinds.get(kind), self.queues.get(queue), self.application)
        return terms_of(*(_at(layer, now) for layer in layers))


def _at(declaration: Declaration | None, now: int) -> Keep:
    return Keep() if declaration is None else declaration.at(now)


def _may_shorten(span: float | None, before: float | None) -> bool:
    """Return whether an ending may leave earlier. What is not said is up to another layer, and may be shorter."""
    return span != before and (span is None or before is None or span < before)


def _first(layers: tuple[Keep | None, ...], ending: RetentionPart) -> float:
    said = (layer.micros(ending) for layer in layers if layer is not None)
    return next((span for span in said if span is not None), math.inf)


def _micros_of(value: Span, *, name: str) -> float:
    if value == FOREVER:
        return math.inf
    try:
        span = microseconds(as_timedelta(value, name=name))
    except InvalidOption as error:
        raise InvalidOption(f'{error}; "forever" keeps them') from None
    return float(span)


def _in_words(value: Span) -> str:
    if isinstance(value, str):
        return value.strip().lower()
    span = value if isinstance(value, timedelta) else timedelta(seconds=value)
    words = as_text(span)
    return words if as_timedelta(words, name="keep") == span else str(span.total_seconds())


DEFAULT_KEEP = Keep(completed="30d", failed="90d", cancelled="30d", logs="7d")
"""What applies to jobs of which nothing else is declared."""
