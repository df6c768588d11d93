"""Which of the jobs that a filter finds a verb steers: their states, and whether it changes them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from posthorse.errors import InvalidOption, InvalidTransition
from posthorse.rules.job import State
from posthorse.rules.requests import Request
from posthorse.rules.search.filter import EXAMPLE, Filter

_GOING = (State.SCHEDULED, State.BLOCKED, State.PENDING, State.PROCESSING)
_AIMS: dict[Request, tuple[str, tuple[State, ...]]] = {
    "pause": ("paused", _GOING),
    "resume": ("resumed", (State.PAUSED, State.PROCESSING)),
    "cancel": ("cancelled", (*_GOING, State.PAUSED)),
    "retry": ("retried", (State.FAILED, State.CANCELLED)),
    "discard": ("discarded", (State.FAILED,)),
}
_USUAL: dict[Request, tuple[State, ...]] = {
    "pause": (State.PROCESSING, State.PENDING, State.SCHEDULED, State.BLOCKED),
    "resume": (State.PAUSED, State.PROCESSING),  # a running one may have been asked to pause
    "cancel": (State.PROCESSING, State.PENDING, State.SCHEDULED, State.BLOCKED, State.PAUSED),
    "retry": (State.FAILED,),
    "discard": (State.FAILED,),
}
"""The states selected if the filter names none, in this order: a running job that is asked first is not parked again
for a retry, behind the caller's back.
"""


def aims(wanted: Filter, verb: Request) -> Sequence[Filter]:
    """Return the filters, one after the other, of the jobs that a verb steers.

    Raises InvalidOption for a filter without conditions, because an empty variable in a script must not mean every job;
    InvalidTransition for a state in which the verb does nothing.
    """
    done, allowed = _AIMS[verb]
    if not wanted.terms:
        raise InvalidOption(
            f"the filter is empty, so it would mean every job; {EXAMPLE}, or a state alone, such as "
            f"state:{allowed[0].value}"
        )
    if not wanted.states:
        return [wanted.with_state(state) for state in _USUAL[verb]]
    advice = f"ask for {' or '.join(f'state:{state.value}' for state in allowed)}"
    for state in wanted.states:
        if state in allowed:
            continue
        if verb == "cancel":
            raise InvalidTransition(f"jobs that are {state.value} are over, so they cannot be cancelled; {advice}")
        raise InvalidTransition(f"jobs that are {state.value} cannot be {done}; {advice}")
    return [wanted.with_state(state) for state in wanted.states]


def moved_on(verb: Request) -> Sequence[State]:
    """Return the states to look into once more, for jobs that moved on while the others were steered."""
    return (State.PENDING, State.PROCESSING) if verb in ("pause", "cancel") else ()


def has_effect(verb: Request, state: State, request: str | None) -> bool:
    """Return whether a verb changes a job in this state, given the `request` that is already pending."""
    if state not in _AIMS[verb][1]:
        return False
    if state is not State.PROCESSING:
        return True
    return request == "pause" if verb == "resume" else request not in ("cancel", verb)
