"""Recent dead letters, and reports about them: each is reported once, whichever process looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from posthorse.rules.events import DeadLettersGrew
from posthorse.rules.growth import MAX_COUNTED, AlarmRule, Death, Deaths, Growth, event_of, grown, suspected
from posthorse.rules.job import NewJob
from posthorse.store.base import QuerySteps, TypedQuery, operation, single_operation
from posthorse.store.operations.submit import EntryTerms, entering

_BEFORE_CLASS = '{"type":"'


class Alarm(NamedTuple):
    """A report, and the rule that receives it."""

    rule: AlarmRule
    growth: Growth
    now: int


NEW_DEAD_LETTERS = TypedQuery("new_dead_letters", tuple[int, str, str, str, int])
ALARMS = TypedQuery("alarms", tuple[str, str, int])
RAISE_ALARM = TypedQuery("raise_alarm", tuple[int])
ERRORS_OF = TypedQuery("errors_of", tuple[str, str | None])


@single_operation
def new_dead_letters(within: int) -> QuerySteps[Deaths]:
    """Return the dead letters of so many microseconds, up to the number that is counted."""
    return (yield from _new_dead_letters(within))


@operation
def alarms_due(rules: Sequence[AlarmRule], *, pace: int) -> QuerySteps[list[Alarm]]:
    """Return the due reports. Costs one query, and a second one only if a queue has enough dead letters."""
    if not rules:
        return []
    deaths = yield from _new_dead_letters(max(rule.within for rule in rules))
    suspects = [(rule, queue) for rule in rules for queue in suspected(rule, deaths)]
    if not suspects:
        return []
    rows = yield from ALARMS([(rule.name, queue) for rule, queue in suspects])
    told = {(name, queue): through for name, queue, through in rows}
    found = [(rule, grown(rule, queue, deaths, told.get((rule.name, queue)), pace=pace)) for rule, queue in suspects]
    return [Alarm(rule, growth, deaths.now) for rule, growth in found if growth is not None]


@operation
def raise_alarm(
    alarm: Alarm,
    make: Callable[[DeadLettersGrew], NewJob] | None,
    terms: EntryTerms,
) -> QuerySteps[DeadLettersGrew | None]:
    """Report, in one commit with the job that `make` makes of the event. None if another process reported meanwhile.

    Raises QueueClosed or QueueFull if the observers' queue refuses the job; then nothing counts as reported.
    """
    rule, growth, _ = alarm
    raised = yield from RAISE_ALARM(name=rule.name, subject=growth.queue, after=growth.after, through=growth.through)
    if not raised:
        return None
    rows = yield from ERRORS_OF([(death.job,) for death in growth.deaths])
    event = event_of(growth, {job: _class_in(error) for job, error in rows})
    if make is not None:
        yield from entering([make(event)], terms)
    return event


def _new_dead_letters(within: int) -> QuerySteps[Deaths]:
    rows = yield from NEW_DEAD_LETTERS(within=within, limit=MAX_COUNTED)
    found = [Death(*row[:4]) for row in rows]
    return Deaths(found, len(found) == MAX_COUNTED, rows[0][4] if rows else 0)


def _class_in(error: str | None) -> str:
    """Return the class of an error, from the beginning of its JSON."""
    if error is None or not error.startswith(_BEFORE_CLASS):
        return "unknown"
    return error.removeprefix(_BEFORE_CLASS).partition('"')[0]
