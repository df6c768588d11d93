"""What users request of jobs, and what the store does then: a table of one action for each state and request. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, get_args

from posthorse.rules.job import State

Request = Literal["pause", "resume", "cancel", "retry", "discard"]
REQUESTS: tuple[Request, ...] = get_args(Request)

LEAVE: Final = "yield"
"""What is requested of a running part whose place others should have; it goes on when there is room."""
AskedOfRunner = Literal["pause", "resume", "cancel", "retry", "discard", "yield"]


class Action(Enum):
    """What the store does with a job when a user requests something of it."""

    PAUSE = "set it aside until it is resumed"
    RESUME = "put it into its lane, or back among those that wait for their time"
    CANCEL = "end it"
    RETRY = "start it again, with new budgets"
    ASK_RUNNER = "tell its runner, which stops it at its next checkpoint"
    WITHDRAW_PAUSE = "take back a pause that its runner was told and has not obeyed yet"
    KEEP = "change nothing: what is requested is so already"
    REFUSE = "raise InvalidTransition"


_ROWS: dict[State, tuple[Action, ...]] = {
    #                  pause              resume                 cancel             retry          discard
    State.SCHEDULED:  (Action.PAUSE,      Action.KEEP,           Action.CANCEL,     Action.REFUSE, Action.REFUSE),
    State.BLOCKED:    (Action.PAUSE,      Action.KEEP,           Action.CANCEL,     Action.REFUSE, Action.REFUSE),
    State.PENDING:    (Action.PAUSE,      Action.KEEP,           Action.CANCEL,     Action.REFUSE, Action.REFUSE),
    State.PROCESSING: (Action.ASK_RUNNER, Action.WITHDRAW_PAUSE, Action.ASK_RUNNER, Action.REFUSE, Action.REFUSE),
    State.PAUSED:     (Action.KEEP,       Action.RESUME,         Action.CANCEL,     Action.REFUSE, Action.REFUSE),
    State.COMPLETED:  (Action.REFUSE,     Action.REFUSE,         Action.REFUSE,     Action.REFUSE, Action.REFUSE),
    State.FAILED:     (Action.REFUSE,     Action.REFUSE,         Action.REFUSE,     Action.RETRY,  Action.CANCEL),
    State.CANCELLED:  (Action.REFUSE,     Action.REFUSE,         Action.KEEP,       Action.RETRY,  Action.REFUSE),
}  # fmt: skip

ACTIONS: dict[tuple[State, Request], Action] = {
    (state, request): action for state, row in _ROWS.items() for request, action in zip(REQUESTS, row, strict=True)
}
"""The action for each request in each state. A job on which a runner holds a lease is `processing`."""

_TARGETS = {
    Action.PAUSE: State.PAUSED,
    Action.RESUME: State.PENDING,
    Action.CANCEL: State.CANCELLED,
    Action.RETRY: State.PENDING,
}


def state_after(action: Action, *, waits: bool, blocks: bool = False) -> State | None:
    """Return the state to which an action takes a job; None if the state stays.

    `waits`: it may not start yet. `blocks`: it waits for other jobs.
    """
    target = _TARGETS.get(action)
    if target is not State.PENDING:
        return target
    return State.BLOCKED if blocks else State.SCHEDULED if waits else target
