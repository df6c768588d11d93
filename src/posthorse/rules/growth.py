"""Decide when dead letters have grown so much that observers must be notified, and of what. Pure.

Times are integers, microseconds on the store's clock. `maintenance/chores/dead_letters` queries the store and writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from posthorse.clock import SECOND, microseconds, moment
from posthorse.errors import InvalidOption
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.events import DeadLettersGrew
from posthorse.rules.job import Lane, NewJob, checked_name

MAX_COUNTED = 1_000
"""Only so many of the newest dead letters are counted at a look, so that a flood of them does not make looks expensive.
"""

MAX_ERRORS = 5
MAX_JOBS = 5
MIN_WITHIN, MAX_WITHIN = "1s", "30d"

OBSERVERS_QUEUE = "posthorse"
"""The queue in which observers run. Only observers that name it hear of its dead letters, because observers that fail
would otherwise notify themselves in a circle.
"""

EVERYBODY = "*"
"""The name of the rule for the log; no kind can have this name."""


class AlarmRule(msgspec.Struct, frozen=True):
    """When an observer is notified: `by` dead letters in one queue within a time (microseconds)."""

    name: str
    by: int = 10
    within: int = 300 * SECOND
    queue: str | None = None
    """None: any queue; each is counted separately."""

    def counts(self, death: Death) -> bool:
        """Return whether a dead letter counts for this rule."""
        if self.name == EVERYBODY:
            return True  # logging makes no jobs, so it cannot notify itself
        if self.queue is None:
            return death.queue != OBSERVERS_QUEUE
        return death.queue == self.queue and death.kind != self.name


LOG = AlarmRule(EVERYBODY)
"""The rule for the log, which exists without observers, too."""


class Observer(NamedTuple):
    """A rule whose observer is a job: the lane of that job, and how to make one from an event."""

    rule: AlarmRule
    lane: Lane
    make: Callable[[DeadLettersGrew], NewJob]


class Death(NamedTuple):
    """A job that became a dead letter."""

    at: int
    job: str
    queue: str
    kind: str


class Deaths(NamedTuple):
    """The newest dead letters, newest first; `is_cut` if there are more. `now` is on the store's clock."""

    found: Sequence[Death]
    is_cut: bool
    now: int


class Growth(NamedTuple):
    """Dead letters of one queue to report; all of them ended after `after`."""

    queue: str
    after: int
    deaths: Sequence[Death]
    is_at_least: bool

    @property
    def through(self) -> int:
        """The moment up to which they are reported."""
        return self.deaths[0].at


def make_alarm_rule(name: str, *, by: object, within: Duration, queue: object) -> AlarmRule:
    """Make and check a rule. Raises InvalidOption."""
    if not isinstance(by, int) or isinstance(by, bool) or not 1 <= by <= MAX_COUNTED:
        raise InvalidOption(
            f"by is {by!r}; it must be a whole number from 1 to {MAX_COUNTED:,}, the dead letters that lead to a "
            "notification"
        )
    span = as_timedelta(within, name="within")
    if not as_timedelta(MIN_WITHIN, name="within") <= span <= as_timedelta(MAX_WITHIN, name="within"):
        raise InvalidOption(f"within is {within!r}; it must lie between {MIN_WITHIN} and {MAX_WITHIN}")
    return AlarmRule(name, by, microseconds(span), None if queue is None else checked_name(queue, what="queue"))


def suspected(rule: AlarmRule, deaths: Deaths) -> Sequence[str]:
    """Return the queues with so many dead letters within the time, whether they were reported already or not."""
    counted = Counter(each.queue for each in deaths.found if each.at > deaths.now - rule.within and rule.counts(each))
    return [queue for queue, count in counted.items() if count >= rule.by]


def grown(rule: AlarmRule, queue: str, deaths: Deaths, told: int | None, *, pace: int) -> Growth | None:
    """Return what to report about a queue whose dead letters were reported up to `told`; None for nothing.

    No dead letter is reported twice. While failures go on, a report follows once in each `within`, or at each look if
    looks are rarer (they are `pace` apart).
    """
    after = deaths.now - rule.within
    if told is not None and told <= deaths.now:  # a later `told` means that the clock was set back
        if told > after + pace:
            return None
        after = max(after, told)
    new = [each for each in deaths.found if each.queue == queue and each.at > after and rule.counts(each)]
    if len(new) < rule.by:
        return None
    return Growth(queue, after, new, is_at_least=deaths.is_cut and deaths.found[-1].at > after)


def event_of(growth: Growth, errors: Mapping[str, str]) -> DeadLettersGrew:
    """Make the event; `errors` has the class of each job's error."""
    in_order = growth.deaths[::-1]
    return DeadLettersGrew(
        queue=growth.queue,
        count=len(in_order),
        since=moment(in_order[0].at),
        until=moment(in_order[-1].at),
        kinds=_counted(each.kind for each in in_order),
        errors=_counted((errors.get(each.job, "unknown") for each in in_order), MAX_ERRORS),
        jobs=[each.job for each in in_order[:MAX_JOBS]],
        is_at_least=growth.is_at_least,
    )


def _counted(words: Iterable[str], most: int | None = None) -> dict[str, int]:
    return dict(Counter(words).most_common(most))
