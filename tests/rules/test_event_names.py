"""The vocabulary of events: whole, and the only one."""

from __future__ import annotations

from typing import get_args

from posthorse.rules.event_names import ENDS_OF_ATTEMPTS, ENDS_OF_JOBS, EVENT_NAMES, MEANINGS
from posthorse.rules.requests import Request
from posthorse.store.operations.moves import EVENTS


def test_each_name_says_what_it_means() -> None:
    assert tuple(MEANINGS) == EVENT_NAMES
    assert set(EVENT_NAMES) > ENDS_OF_ATTEMPTS | ENDS_OF_JOBS


def test_what_users_request_has_a_name() -> None:
    assert set(EVENTS) == set(get_args(Request))
    assert set(EVENTS.values()) < set(EVENT_NAMES)
