"""What an embedded worker calls when it starts and when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import posthorse as ph


def test_functions_run_in_order_at_the_start_and_in_reverse_at_the_end(app: ph.Posthorse) -> None:
    steps: list[str] = []

    def noting(name: str, is_async: bool) -> Callable[[], Any]:
        def plain() -> None:
            steps.append(name)

        async def awaited() -> None:
            await asyncio.sleep(0)
            steps.append(name)

        return awaited if is_async else plain

    for number, is_async in enumerate([False, True, False]):
        app.on_start(noting(f"start {number}", is_async))
        app.on_stop(noting(f"stop {number}", is_async))

    @app.job
    def work() -> None:
        steps.append("job")

    for _ in range(2):
        steps.clear()
        with app.worker():
            work.enqueue().result(timeout=30)
        assert steps == ["start 0", "start 1", "start 2", "job", "stop 2", "stop 1", "stop 0"]


def test_entering_raises_what_on_start_raises_and_takes_no_jobs(app: ph.Posthorse) -> None:
    steps: list[str] = []

    @app.on_start
    def warm_up() -> None:
        raise ConnectionError("no cache there")

    @app.on_stop
    def stop() -> None:
        steps.append("stop")

    @app.job
    def work() -> None:
        steps.append("job")

    job = work.enqueue()
    with pytest.raises(ConnectionError, match="no cache there") as caught, app.worker():
        pass
    assert caught.value.__notes__[0].endswith("warm_up(), a function of on_start")
    assert steps == []
    assert job.status().state == "pending"


@pytest.mark.tuning(stop_time=0.1)
def test_functions_at_the_end_that_fail_or_hang_are_logged(app: ph.Posthorse, caplog: pytest.LogCaptureFixture) -> None:
    steps: list[str] = []

    @app.on_stop
    def last() -> None:
        steps.append("last")

    @app.on_stop
    async def hangs() -> None:
        await asyncio.Event().wait()

    @app.on_stop
    def fails() -> None:
        raise SystemExit("not like this")

    with app.worker():
        pass
    assert steps == ["last"]
    assert "fails(), a function of on_stop, failed" in caplog.text
    assert "hangs(), a function of on_stop, did not end in time" in caplog.text


def test_what_cannot_be_called_is_refused(app: ph.Posthorse) -> None:
    def needs(url: str) -> None: ...

    def yields() -> Iterator[None]:
        yield

    for declare in (app.on_start, app.on_stop):
        with pytest.raises(ph.InvalidOption, match="needs\\(\\) is called without arguments"):
            declare(needs)  # type: ignore[arg-type]
        with pytest.raises(ph.InvalidOption, match="has a yield"):
            declare(yields)
        with pytest.raises(ph.InvalidOption, match="needs a function"):
            declare(7)  # type: ignore[arg-type]
