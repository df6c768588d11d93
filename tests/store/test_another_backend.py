"""Another backend is a class and a scheme: neither the application nor the worker knows which one it is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

import posthorse as ph
from posthorse.clock import Clock
from posthorse.rules.tuning import Tuning
from posthorse.store import address
from posthorse.store.base import Operation
from posthorse.store.committer import Answer
from posthorse.store.sqlite.backend import SqliteBackend
from tests.waiting import until


class RecordingBackend(SqliteBackend):
    """A store in a file that records how many operations each commit had."""

    def __init__(self, path: Path, clock: Clock, tuning: Tuning, commits: list[int]) -> None:
        super().__init__(path, clock, tuning)
        self._commits = commits

    def commit(self, operations: Sequence[Operation[object]]) -> Sequence[Answer]:
        self._commits.append(len(operations))
        return super().commit(operations)


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    commits: list[int] = []

    def open_recording(url: str, rest: str, schema: str, clock: Clock, tuning: Tuning) -> RecordingBackend:
        return RecordingBackend(Path(rest), clock, tuning, commits)

    monkeypatch.setitem(address.BACKENDS, "recording", open_recording)
    return commits


def test_an_application_and_a_worker_run_on_a_store_of_another_kind(tmp_path: Path, commits: list[int]) -> None:
    app = ph.Posthorse(f"recording://{tmp_path}/jobs.db")
    sums: list[int] = []

    @app.job
    def add(ctx: ph.Context, numbers: list[int]) -> int:
        sums.extend(sum(batch) for batch in ctx.slices(numbers, size=2))
        return sum(sums)

    job = add.enqueue([1, 2, 3, 4, 5])
    before = len(commits)
    assert before >= 2, "the schema, and the job"
    with app.worker():
        until(lambda: job.status().state.is_final, what="the job ends")
    assert job.result() == 15
    assert sums == [3, 7, 5]
    assert len(commits) >= before + 3, "a claim, its slices and its completion"
    app.close()


def test_what_the_store_logs_and_shows_names_the_other_kind(
    tmp_path: Path, commits: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    app = ph.Posthorse(f"recording://{tmp_path}/jobs.db")
    with caplog.at_level(logging.WARNING, "posthorse"):
        app.migrate()
    assert not caplog.records, "an address that was given is not one by default"
    assert "recording" in app.store.where
    app.close()


def test_an_unknown_kind_of_store_is_refused() -> None:
    with pytest.raises(ph.InvalidSettings, match="not the address of a store"):
        ph.Posthorse("recording:///tmp/jobs.db").store  # noqa: B018  # the address is read now
