"""`posthorse why`, and what `show` and `wait` say about a job that does not run."""

from __future__ import annotations

import json
import re

import msgspec
import pytest

from posthorse.cli.exits import Exit
from posthorse.views.why import WhyView
from tests.cli.conftest import Shop

UNKNOWN = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"


def test_why_tells_the_reason_what_to_do_and_what_else_is_in_the_way(any_shop: Shop) -> None:
    any_shop.app.migrate()
    job = any_shop.done("enqueue", "welcome", "7")
    any_shop.done("queues", "pause", "mail")
    assert any_shop.done("why", job[-8:]).splitlines() == [
        f"○ pending  welcome  {job}",
        "",
        "  Its queue 'mail' is paused.",
        "",
        "  to do   let the queue go on:",
        "            posthorse queues resume mail",
        "  starts  unknown: it depends on when the queue is resumed",
        "",
        "Also in the way:",
        "",
        "  No worker is alive.",
        "  to do  start one:",
        "           posthorse worker --app shop:app",
    ]


def test_why_as_data_reads_back(shop: Shop) -> None:
    job = shop.done("enqueue", "welcome", "7")
    view = msgspec.json.decode(shop.done("why", job, "--json"), type=WhyView)
    assert (view.id, view.state, view.kind, view.queue) == (job, "pending", "welcome", "mail")
    assert [reason.code for reason in view.reasons] == ["no_worker"]
    assert view.start is not None
    assert (view.start.earliest, view.start.basis) == (None, "it depends on when such a worker is started")


def test_the_command_is_the_one_that_the_user_can_type(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    job = shop.done("enqueue", "welcome", "7")
    assert "posthorse worker --app shop\n" in shop.done("why", job, "--app", "shop") + "\n"
    monkeypatch.delenv("POSTHORSE_APP")
    assert "posthorse worker --app MODULE:APP" in shop.done("why", job), "no application is known"


def test_a_range_and_a_lower_bound_are_shown_with_their_basis(shop: Shop) -> None:
    job = shop.done("enqueue", "welcome", "7", "--delay", "1h")
    with shop.working():
        told = shop.done("why", job)
    assert re.search(r"starts  not before [\d: -]+, in (59m\d+s|1h); basis: its due time; then it takes its turn", told)


def test_control_characters_of_jobs_reach_no_terminal(shop: Shop) -> None:
    job = shop.done("enqueue", "broken", "\x1b[31mred", "--max-attempts", "1")
    with shop.working():
        shop.run("wait", job)
    assert "\x1b" not in shop.done("why", job)
    assert "ValueError: red" in shop.done("why", job)


def test_a_job_that_does_not_exist(shop: Shop) -> None:
    shop.app.migrate()
    assert shop.run("why", UNKNOWN).exit_code == Exit.NOT_FOUND


def test_show_says_it_in_a_line(shop: Shop) -> None:
    job = shop.done("enqueue", "welcome", "7")
    assert shop.done("show", job).splitlines()[1:3] == ["  No worker is alive.", f"  To do: posthorse why {job[-8:]}"]


def test_wait_says_why_after_a_moment_once_and_when_time_is_up(shop: Shop) -> None:
    code = shop.folder / "shop.py"
    patient = code.read_text(encoding="utf-8")
    tuned = "ph.Posthorse(tuning=Tuning(first_words=0.02, words_interval=0.02))"
    code.write_text(
        f"from posthorse.rules.tuning import Tuning\n{patient.replace('ph.Posthorse()', tuned)}", encoding="utf-8"
    )
    job = shop.done("enqueue", "welcome", "7")
    result = shop.run("wait", job, "--timeout", "0.5s")
    assert result.exit_code == Exit.TIMED_OUT
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"welcome {job[-8:]}: No worker is alive. Start one: posthorse worker --app shop:app",
        f"After 0.5s, job {job} was not over; it goes on.",
    ]
    code.write_text(patient, encoding="utf-8")
    shop.forget()
    result = shop.run("wait", job, "--timeout", "0.1s")
    assert result.stderr.splitlines()[-1].startswith(f"welcome {job[-8:]}: No worker is alive.")


def test_enqueue_waits_for_the_end_and_says_meanwhile_why(shop: Shop) -> None:
    with shop.working():
        result = shop.run("enqueue", "welcome", "7", "--wait", "--json")
        assert result.exit_code == 0
        stored, ended = (json.loads(line) for line in result.stdout.splitlines())
        assert (ended["id"], ended["state"], ended["result"]) == (stored["id"], "completed", "welcome 7 ")
        assert shop.run("enqueue", "broken", "why", "--max-attempts", "1", "--wait").exit_code == Exit.JOB_FAILED
    result = shop.run("enqueue", "welcome", "8", "--wait", "--timeout", "0.1s")
    assert result.exit_code == Exit.TIMED_OUT
    assert "No worker is alive" in result.stderr
    assert shop.run("enqueue", "welcome", "8", "--timeout", "1s").exit_code == Exit.USAGE
