"""`pause`, `resume`, `cancel`, `retry`, `wait` and `watch`: what they do and print, and how they end."""

from __future__ import annotations

import json
import re

import pytest

import posthorse as ph
from posthorse.cli.exits import Exit
from tests.cli.conftest import Shop
from tests.waiting import until_state


def work_off(shop: Shop, *jobs: str) -> None:
    with shop.app.worker():
        for job in jobs:
            until_state(shop.app.get_job(job), "completed", "failed", "cancelled")


def test_waiting_job_is_paused_resumed_cancelled_and_retried(any_shop: Shop) -> None:
    job = any_shop.done("enqueue", "welcome", "7")
    for verb, state in (("pause", "paused"), ("resume", "pending"), ("cancel", "cancelled"), ("retry", "pending")):
        assert any_shop.done(verb, job) == f"{state}  {job}"
        assert any_shop.app.get_job(job).status().state == state


def test_running_job_is_asked_and_then_forced(any_shop: Shop) -> None:
    job = any_shop.done("enqueue", "endless")
    with any_shop.working():
        until_state(any_shop.app.get_job(job), "processing")
        asked = json.loads(any_shop.done("pause", job, "--json"))
        assert (asked["state"], asked["requested"]) == ("processing", "pause")
        assert any_shop.done("cancel", job, "--force") == f"cancelled  {job}"


def test_state_that_forbids_it_is_a_conflict(any_shop: Shop) -> None:
    job = any_shop.done("enqueue", "welcome", "7")
    result = any_shop.run("retry", job)
    assert (result.exit_code, result.stdout) == (4, "")
    assert "is pending, so it cannot be retried" in result.stderr


def test_bad_items_are_told_and_retried(any_shop: Shop) -> None:
    app = any_shop.app
    is_mended: list[bool] = []

    @app.job(max_attempts=1)
    def picky(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(3), tolerate=2):
            for item in batch:
                with batch.tolerate(item):
                    if item == 1 and not is_mended:
                        raise ValueError

    job = picky.enqueue()
    work_off(any_shop, job.id)
    assert json.loads(any_shop.done("show", job.id, "--json"))["bad_items"] == 1
    assert (
        f"1: `posthorse bad-items {job.id}` lists them; `posthorse retry {job.id} --bad-items` runs them"
        in " ".join(any_shop.done("show", job.id).split())
    )
    is_mended.append(True)
    assert any_shop.done("retry", job.id, "--bad-items") == f"pending  {job.id}"
    work_off(any_shop, job.id)
    assert "bad-items" not in any_shop.done("show", job.id)
    assert any_shop.run("retry", job.id, "--bad-items").exit_code == 4


def test_all_jobs_are_asked_whatever_becomes_of_the_first(shop: Shop) -> None:
    job = shop.done("enqueue", "welcome", "7")
    result = shop.run("cancel", "ffffffff", "no id", job)
    assert result.exit_code == 3
    assert result.stdout == f"cancelled  {job}\n"
    told = [json.loads(line) for line in shop.run("retry", "ffffffff", job, "--json").stdout.splitlines()]
    assert [entry["state"] for entry in told] == [None, "pending"]
    assert "no job has the id" in told[0]["error"]


def test_ids_are_needed(shop: Shop) -> None:
    for verb in ("pause", "resume", "cancel", "retry", "wait", "show"):
        assert shop.run(verb).exit_code == 2


# ── wait ─────────────────────────────────────────────────────────────────────────────────────────────


def test_wait_ends_as_the_jobs_do(any_shop: Shop) -> None:
    good = any_shop.done("enqueue", "welcome", "7")
    bad = any_shop.done("enqueue", "broken", "no luck")
    stopped = any_shop.done("enqueue", "welcome", "8")
    any_shop.done("cancel", stopped)
    work_off(any_shop, good, bad)
    assert any_shop.done("wait", good) == f"completed  {good}"
    assert any_shop.run("wait", good, stopped).exit_code == Exit.CANCELLED
    result = any_shop.run("wait", stopped, bad, good)
    assert result.exit_code == Exit.JOB_FAILED
    assert result.stdout.splitlines() == [f"cancelled  {stopped}", f"failed  {bad}", f"completed  {good}"]
    assert "ValueError: no luck" in result.stderr


def test_wait_gives_result_and_error_as_json_lines(shop: Shop) -> None:
    good, bad = shop.done("enqueue", "welcome", "7", "ann"), shop.done("enqueue", "broken", "no luck")
    work_off(shop, good, bad)
    told = [json.loads(line) for line in shop.run("wait", good, bad, "--json").stdout.splitlines()]
    assert told[0] == {"id": good, "state": "completed", "reason": None, "result": "welcome 7 ann", "error": None}
    assert (told[1]["result"], told[1]["error"]) == (None, {"type": "ValueError", "message": "no luck"})


def test_wait_gives_up_when_time_is_over(shop: Shop) -> None:
    job = shop.done("enqueue", "welcome", "7")
    for timeout in ("0", "50ms"):
        result = shop.run("wait", job, "--timeout", timeout)
        assert (result.exit_code, result.stdout) == (124, "")
        assert f"job {job} was not over" in result.stderr


def test_wait_for_any_ends_with_the_first(shop: Shop) -> None:
    done, waiting = shop.done("enqueue", "count", "5"), shop.done("enqueue", "welcome", "7", "--delay", "1h")
    work_off(shop, done)
    assert shop.done("wait", waiting, done, "--any", "--timeout", "5s") == f"completed  {done}"


def test_wait_wakes_when_the_job_ends(shop: Shop) -> None:
    job = shop.done("enqueue", "count", "500")
    with shop.working():
        assert shop.done("wait", job, "--timeout", "30s") == f"completed  {job}"


@pytest.mark.parametrize("timeout", ["-1", "abc", "1e999", ""])
def test_time_that_is_none_is_refused(shop: Shop, timeout: str) -> None:
    job = shop.done("enqueue", "welcome", "7")
    assert shop.run("wait", job, f"--timeout={timeout}").exit_code == 2


# ── watch without a terminal ─────────────────────────────────────────────────────────────────────────


def test_watch_without_running_jobs_ends_at_once(shop: Shop) -> None:
    shop.done("migrate")
    result = shop.run("watch")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "No job runs." in result.stderr


def test_watch_of_jobs_that_are_over_ends_as_they_did(any_shop: Shop) -> None:
    good, bad = any_shop.done("enqueue", "count", "25"), any_shop.done("enqueue", "broken", "no luck")
    work_off(any_shop, good, bad)
    result = any_shop.run("watch", good, bad)
    assert result.exit_code == Exit.JOB_FAILED
    assert re.fullmatch(rf"[\d:]+ {good} count completed 25 in \w+", result.stdout.splitlines()[0])
    assert re.fullmatch(rf"[\d:]+ {bad} broken failed ValueError: no luck", result.stdout.splitlines()[1])
    assert any_shop.run("watch", good).exit_code == Exit.OK


def test_watch_prints_only_what_changed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    job = shop.done("enqueue", "welcome", "7")
    turns = iter(range(10))

    def sleep(seconds: float) -> None:
        assert seconds >= 1
        if next(turns) == 5:
            shop.app.get_job(job).cancel()

    monkeypatch.setattr("posthorse.cli.watch.time.sleep", sleep)
    result = shop.run("watch", job, job, "--json")
    assert result.exit_code == Exit.CANCELLED
    assert [json.loads(line)["state"] for line in result.stdout.splitlines()] == ["pending", "cancelled"]
