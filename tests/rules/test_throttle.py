"""Throttles: what they accept, what must wait and for how long, and how they are stored."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import posthorse as ph
from posthorse.errors import InvalidOption
from posthorse.rules.queues import (
    checked_layer,
    checked_live_layer,
    layer_as_words,
    layer_from_words,
    settings_in_words,
)
from posthorse.rules.throttle import (
    SILENT,
    Leave,
    Nap,
    Throttle,
    Wait,
    as_throttle,
    busy,
    in_words,
    nap_or_leave,
    requirement_of_items,
    wait_for_items,
    wait_of_answer,
)

ALL = Throttle(
    items="500/s",
    load=8,
    memory="90%",
    replica_lag="10s",
    wal_rate="50MB/s",
    dead_rows={"users": 1_000_000},
    oldest_transaction=timedelta(minutes=10),
    probe="http://db/ok",
)


@pytest.mark.parametrize(
    ("name", "reading", "reason"),
    [
        ("load", 9.26, "the load is 9.3, 8 are allowed"),
        ("memory", 0.934, "93% of the memory is in use, 90% are allowed"),
        ("replica_lag", 14.2, "replica lag is 14 s, 10 s are allowed"),
        ("wal_rate", 80e6, "the server logs 80 MB/s/s, 50 MB/s are allowed".replace("/s/s", "/s")),
        ("dead_rows", 1_200_000, "table users has 1,200,000 dead rows, 1,000,000 are allowed"),
        ("oldest_transaction", 720, "the oldest transaction is 12m old, 10m are allowed"),
        ("probe", 503, "http://db/ok has status 503"),
    ],
)
def test_what_is_above_its_most_is_busy_and_says_so(name: str, reading: float, reason: str) -> None:
    calm = {ceiling: ceiling.most for ceiling in ALL.ceilings}
    assert busy(ALL, dict(calm)) is None
    wait = busy(ALL, {**calm, **{ceiling: reading for ceiling in ALL.ceilings if ceiling.name == name}})
    assert wait == Wait(reason)
    assert in_words(Wait(reason)) == f"throttled: {reason}"


def test_what_is_silent_counts_as_said_and_what_cannot_be_measured_is_calm() -> None:
    for when_silent, reason in (("calm", None), ("busy", "http://db/ok is silent")):
        throttle = Throttle(probe="http://db/ok", when_silent=when_silent)  # type: ignore[arg-type]  # one of both
        wait = busy(throttle, {throttle.ceilings[0]: SILENT})
        assert (None if wait is None else wait.reason) == reason
        assert busy(throttle, {throttle.ceilings[0]: None}) is None


@pytest.mark.parametrize(
    ("answer", "wait"),
    [
        (None, None),
        (False, None),
        ("", None),
        (0, None),
        (True, Wait("its function asks it to wait")),
        ("billing\nis busy", Wait("billing is busy")),
        (1.5, Wait("its function asks it to wait 2s", 1.5)),
        (timedelta(minutes=1), Wait("its function asks it to wait 1m", 60.0)),
    ],
)
def test_what_a_function_returns_means(answer: object, wait: Wait | None) -> None:
    assert wait_of_answer(answer) == wait


@pytest.mark.parametrize("answer", [-1, [], object(), float("nan")])
def test_what_a_function_must_not_return(answer: object) -> None:
    with pytest.raises(InvalidOption, match=r"what the throttle returned|a throttle returned"):
        wait_of_answer(answer)


@given(st.none() | st.floats(0.001, 10_000), st.floats(0, 5), st.floats(0, 0.999), st.floats(0, 4), st.floats(0.1, 100))
def test_a_job_waits_with_its_worker_for_a_while_and_then_leaves(
    seconds: float | None, waited: float, chance: float, in_place: float, away: float
) -> None:
    step = nap_or_leave(Wait("busy", seconds), waited, in_place=in_place, away=away, chance=chance)
    if isinstance(step, Nap):
        assert 0 < step.seconds <= in_place - waited + 1e-9
        assert step.is_enough == (seconds is not None)
        assert seconds is None or step.seconds == seconds
    else:
        assert isinstance(step, Leave)
        assert step.seconds == seconds if seconds is not None else 0.8 * away <= step.seconds <= 1.2 * away
        assert (seconds or 0) > in_place - waited or waited >= in_place


def test_items_wait_for_their_tokens() -> None:
    assert wait_for_items(ph.Rate("500/s"), 0) is None
    assert wait_for_items(ph.Rate("500/s"), 1.5) == Wait("500/s items are allowed", 1.5)
    assert requirement_of_items(ph.Rate("500/s"), "queue", "a").gate == '["items","queue","a"]'
    assert requirement_of_items(ph.Rate("500/s", name="mail"), "queue", "a").gate == '["items","name","mail"]'


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ("500/s", Throttle(items="500/s")),
        ("items=500/s,load=8", Throttle(items="500/s", load=8.0)),
        ({"load": 8, "dead_rows": {"users": 7}}, Throttle(load=8, dead_rows={"users": 7})),
        ({"items": {"limit": "5/s", "name": "mail"}}, Throttle(items=ph.Rate("5/s", name="mail"))),
    ],
)
def test_a_throttle_may_be_written_as_text_or_table(given: object, same: Throttle) -> None:
    found = as_throttle(given)
    assert isinstance(found, Throttle)
    assert (found.ceilings, found.rate) == (same.ceilings, same.rate)


@pytest.mark.parametrize("throttle", [ALL, Throttle(items=ph.Rate("5/s", name="mail"), when_silent="busy")])
def test_a_throttle_is_stored_and_read_as_it_was(throttle: Throttle) -> None:
    stored = layer_as_words(checked_live_layer({"throttle": throttle}, queue="a"))
    found = layer_from_words(stored)["throttle"]
    assert isinstance(found, Throttle)
    assert (found.ceilings, found.rate, found.when_silent) == (throttle.ceilings, throttle.rate, throttle.when_silent)


def test_a_throttle_is_shown_in_words() -> None:
    assert settings_in_words(ph.QueueSettings(throttle=Throttle(items="5/s", load=8)))["throttle"] == "items=5/s,load=8"

    def is_busy() -> bool:
        return True

    assert settings_in_words(ph.QueueSettings(throttle=is_busy))["throttle"] == "<is_busy>"


def test_a_store_holds_no_code() -> None:
    layer = {"throttle": lambda: True}
    assert checked_layer(layer, queue="a")["throttle"] is layer["throttle"]
    with pytest.raises(InvalidOption, match="a store cannot hold code"):
        checked_live_layer(layer, queue="a")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, "needs something to look at"),
        ({"load": 0}, "load is 0"),
        ({"memory": "120%"}, "memory is '120%'"),
        ({"memory": "much"}, "memory is 'much'"),
        ({"replica_lag": 0}, "replica_lag is 0"),
        ({"wal_rate": "fast"}, "wal_rate is 'fast'"),
        ({"dead_rows": {}}, "dead_rows is {}"),
        ({"dead_rows": {"users": 0}}, "dead_rows of 'users' is 0"),
        ({"probe": "db/ok"}, "probe is 'db/ok'"),
        ({"items": ph.Rate("5/s", per="tenant")}, "leave per out"),
        ({"load": 1, "when_silent": "loud"}, "when_silent is 'loud'"),
        ({"load": 1, "on": 7}, "on is 7"),
        ({"loda": 1}, "did you mean 'load'"),
    ],
)
def test_what_a_throttle_cannot_be_is_refused(options: dict[str, object], why: str) -> None:
    with pytest.raises(InvalidOption, match=why):
        as_throttle(options)
