"""`logs`: what a job logged, for people and for programs; and the last lines in `show`."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator

import pytest

import posthorse as ph
from tests.cli.conftest import Shop
from tests.cli.test_steering import work_off
from tests.waiting import until

log = logging.getLogger("shop.mail")


@pytest.fixture(autouse=True)
def info() -> Iterator[None]:
    log.setLevel(logging.INFO)
    yield
    log.setLevel(logging.NOTSET)


@pytest.fixture
def job(any_shop: Shop) -> str:
    """Return the id of a job that logged in two attempts."""

    @any_shop.app.job(max_attempts=2, backoff=0)
    def mail(ctx: ph.Context) -> None:
        log.info("attempt %d\x1b[31m of\nmany", ctx.attempt, extra={"user": 7, "name_of": "a b", "tags": ["x"]})
        try:
            raise ValueError("no\x9b5m good")
        except ValueError:
            log.exception("it failed")
        if ctx.attempt == 1:
            raise ValueError("again")
        for number in range(1_500):
            log.warning("line %d", number)

    job = mail.enqueue()
    work_off(any_shop, job.id)
    assert job.status().state == "completed"
    return job.id


def test_lines_are_shown_run_after_run(any_shop: Shop, job: str) -> None:
    heading, *lines = any_shop.done("logs", job).splitlines()
    assert heading == "Attempt 1"
    assert lines[0][13:] == 'INFO    shop.mail: attempt 1 of many  user=7  name_of="a b"  tags=["x"]'
    assert lines[1][13:] == "ERROR   shop.mail: it failed"
    assert lines[2] == "    Traceback (most recent call last):"
    second = lines.index("Attempt 2")
    assert lines[second - 1] == "    ValueError: no good"
    assert lines[second + 1][13:].startswith("INFO    shop.mail: attempt 2")
    assert [line for line in lines if "left out" in line] == ["… 502 lines left out …"]
    assert lines[-1].endswith("WARNING shop.mail: line 1499")
    assert "\x1b" not in "".join(lines)
    assert "\x9b" not in "".join(lines)


def test_one_attempt_and_the_last_lines(any_shop: Shop, job: str) -> None:
    assert len(any_shop.done("logs", job, "--attempt", "1").splitlines()) < 10
    heading, *last = any_shop.done("logs", job, "-n", "3").splitlines()
    assert heading == "Attempt 2"
    assert [line.rpartition(" ")[2] for line in last] == ["1497", "1498", "1499"]
    assert "No lines of attempt 3 are kept." in any_shop.run("logs", job, "--attempt", "3").stderr


def test_json_has_a_line_for_each(any_shop: Shop, job: str) -> None:
    found = [json.loads(line) for line in any_shop.done("logs", job, "--attempt", "1", "--json").splitlines()]
    assert [line["message"] for line in found] == ["attempt 1\x1b[31m of\nmany", "it failed"]
    first, second = found
    assert list(first) == [
        "attempt", "run", "number", "at", "level", "logger", "message", "fields", "error", "left_out",
    ]  # fmt: skip
    assert first["fields"] == {"user": 7, "name_of": "a b", "tags": ["x"]}
    assert second["error"].endswith("ValueError: no\x9b5m good")


def test_following_ends_with_the_job(any_shop: Shop) -> None:
    go_on = threading.Event()

    @any_shop.app.job
    def mail() -> None:
        log.info("begun")
        go_on.wait(30)
        log.info("done")

    job = mail.enqueue()
    shown: list[str] = []

    def follow() -> None:
        shown.extend(any_shop.done("logs", job.id, "-f").splitlines())

    with any_shop.app.worker():
        until(lambda: job.logs())
        go_on.set()
        following = threading.Thread(target=follow)
        following.start()
        following.join(30)
    assert [line.rpartition(" ")[2] for line in shown] == ["1", "begun", "done"]


def test_a_job_that_logged_nothing(any_shop: Shop) -> None:
    job = any_shop.done("enqueue", "welcome", "1")
    result = any_shop.run("logs", job)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "It logged nothing that is kept." in result.stderr
    assert any_shop.run("logs", "01936f5e-7c1a-7d2b-8e3f-0123456789ab").exit_code != 0


def test_show_ends_with_the_last_lines(any_shop: Shop, job: str) -> None:
    lines = any_shop.done("show", job).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("Logged last, in attempt 2"))
    assert len(lines[start + 1 :]) == 8
    assert lines[-1].endswith("WARNING shop.mail: line 1499")
