"""Planted defects: each breaks the invariants that it should in its scenario, which is sound without it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.application import app, plain, repeated
from tests.faults.history import Event, Recorder, Value, read_history
from tests.faults.trial import Judgement, Trial, trial
from tests.faults.workloads import Client

Scenario = Callable[[Trial], Judgement]


def taken_away(one: Trial) -> Judgement:
    """Take a running job away and start it again; its first run goes on, and must not write anything more."""
    client = _begin(one)
    client.submit([repeated.bind("a", 30, 5, 0.4)], Value(labels=["a"], kind="repeated"))
    [job_id] = client.known
    job = app.get_job(job_id)
    _wait_for(one, "slice", count=1)
    client.ask("pause", job_id, lambda: Value(state=str(job.pause(force=True))), Value(force=True))
    client.ask("resume", job_id, lambda: Value(state=str(job.resume())))
    return one.judge(probes=False)


def clients_killed(one: Trial) -> Judgement:
    """Let clients die while they enqueue."""
    _begin(one)
    for number in range(3):
        one.stage.start_client()
        _wait_for(one, "submit", count=15 * (number + 1))
        one.nemesis.strike("kill-client")
    return one.judge(probes=False)


def killed_between_effects(one: Trial) -> Judgement:
    """Let a runner die before the effect of a slice."""
    client = _begin(one)
    client.submit([repeated.bind("a", 20, 5, 0.3)], Value(labels=["a"], kind="repeated"))
    _wait_for(one, "slice", count=1)
    time.sleep(0.1)  # in the next slice, before its effect
    one.nemesis.strike("kill-runner")
    return one.judge(probes=False)


def longer_than_the_lease(one: Trial) -> Judgement:
    """Let a job run for longer than the lease, in a healthy worker."""
    client = _begin(one)
    client.submit([plain.bind("a", 5.0)], Value(labels=["a"], kind="plain"))
    [job_id] = client.known
    job = app.get_job(job_id)
    one.stage.wait_for(
        lambda: job.status().state.is_final or job.status().interruptions, "its end, or the loss of its lease"
    )
    if not job.status().state.is_final:
        client.ask("cancel", job_id, lambda: Value(state=str(job.cancel(force=True))), Value(force=True))
    return one.judge(probes=False)


def same_keys(one: Trial) -> Judgement:
    """Let two clients use the same keys."""
    _begin(one)
    for _ in range(2):
        one.stage.start_client()
    _wait_for(one, "submit", count=40)
    return one.judge(probes=False)


DEFECTS: dict[str, tuple[Scenario, tuple[str, ...], set[str]]] = {
    "no-fence": (taken_away, (), {"I5 FENCED"}),
    "early-acknowledgement": (clients_killed, ("submits",), {"I1 NO-LOSS"}),
    "cursor-first": (killed_between_effects, (), {"I9 EFFECT"}),
    "no-renewal": (longer_than_the_lease, (), {"I4 ONE-LEASE"}),
    "no-key": (same_keys, ("keys",), {"I3 ONE-KEY"}),
}


QUICK = ("no-fence", "cursor-first", "no-key")


@pytest.mark.parametrize(
    "defect", [name if name in QUICK else pytest.param(name, marks=pytest.mark.soak) for name in DEFECTS]
)
def test_a_planted_defect_is_caught(store_url: str, tmp_path: Path, defect: str) -> None:
    scenario, workloads, broken = DEFECTS[defect]
    with trial(store_url, tmp_path / "trial", seed=1, workloads=workloads, defect=defect) as one:
        judgement = scenario(one)
    assert {sentence.partition(":")[0] for sentence in judgement.violations} >= broken, judgement


@pytest.mark.soak
@pytest.mark.parametrize("defect", DEFECTS)
def test_without_the_defect_its_scenario_is_sound(store_url: str, tmp_path: Path, defect: str) -> None:
    scenario, workloads, _ = DEFECTS[defect]
    with trial(store_url, tmp_path / "trial", seed=1, workloads=workloads) as one:
        judgement = scenario(one)
    assert judgement.violations == [], judgement


def _begin(one: Trial) -> Client:
    """Start a worker, and a client in this process."""
    one.stage.start_worker()
    return Client("client-test", 1, Recorder(one.stage.history, "client-test"))


def _wait_for(one: Trial, op: str, *, count: int) -> None:
    def so_far() -> list[Event]:
        return [event for event in read_history(one.stage.history) if event.op == op and event.phase == "ok"]

    one.stage.wait_for(lambda: len(so_far()) >= count, f"{count} times {op}")
