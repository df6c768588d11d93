"""`jobs`, `show` and `workers`: what they say about jobs and about the workers that run them."""

from __future__ import annotations

import json
import re
import socket
from typing import Any, cast

import pytest

from posthorse import ids
from tests.cli.conftest import Shop
from tests.waiting import until_state


def finished(shop: Shop, *words: str) -> str:
    """Enqueue a job, work until it is over, and return its id."""
    job = shop.app.get_job(shop.done("enqueue", *words))
    with shop.app.worker():
        until_state(job, "completed", "failed", "cancelled")
    return job.id


# ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────


def test_without_jobs_the_first_command_is_taught(shop: Shop) -> None:
    shop.done("migrate")
    result = shop.run("jobs")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "posthorse enqueue KIND" in result.stderr
    assert shop.listed() == []


def test_who_only_looks_makes_no_store(shop: Shop) -> None:
    for words, code in ((["jobs"], 0), (["workers"], 0), (["watch"], 0), (["queues"], 0), (["doctor"], 5)):
        assert shop.run(*words).exit_code == code
    assert shop.run("show", "0123456789ab").exit_code == 5
    assert not list(shop.folder.glob("jobs.db*"))


def test_store_in_a_folder_that_is_not_there_is_unreachable(shop: Shop) -> None:
    result = shop.run("jobs", "--url", "sqlite:///no/such/folder/jobs.db")
    assert result.exit_code == 5
    assert not (shop.folder / "no").exists()


def test_jobs_are_listed_newest_first_with_whole_ids(shop: Shop) -> None:
    first, second = shop.done("enqueue", "welcome", "1"), shop.done("enqueue", "count", "2", "--delay", "10m")
    heading, *rows = [re.split(r"  +", line) for line in shop.done("jobs").split("\n")]
    assert heading == ["STATE", "KIND", "QUEUE", "AGE", "PROGRESS", "ID"]
    assert [row[-1] for row in rows] == [second, first]
    assert rows[0][:3] == ["◷ scheduled", "count", "reports"]
    assert rows[0][4].startswith("in ")
    assert rows[1][:3] == ["○ pending", "welcome", "mail"]


def test_filters_go_together(shop: Shop) -> None:
    wanted = shop.done("enqueue", "welcome", "1", "-q", "slow", "--delay", "1h")
    shop.done("enqueue", "welcome", "2", "-q", "slow")
    shop.done("enqueue", "count", "2", "-q", "slow", "--delay", "1h")
    found = shop.listed("--state", "scheduled", "-q", "slow", "-k", "welcome")
    assert [job["id"] for job in found] == [wanted]
    assert [job["id"] for job in shop.listed("-q", "slow", "--filter", "welc -state:pending")] == [wanted]
    assert shop.run("jobs", "-q", "slow", "--filter", "queue:slow").exit_code == 2
    assert "No job fits." in shop.run("jobs", "-q", "none").stderr


def test_pages_follow_each_other(shop: Shop) -> None:
    jobs = [shop.done("enqueue", "welcome", str(number)) for number in range(5)]
    pages: list[str] = []
    more: tuple[str, ...] = ()
    page: dict[str, Any] = {}
    for _ in range(3):
        page = cast("dict[str, Any]", shop.json("jobs", "-n", "2", *more))
        pages += [job["id"] for job in page["jobs"]]
        more = ("--more", page["next"])
    assert pages == jobs[::-1]
    assert page["next"] is None
    assert page["searched"] == {"back_to": None, "complete": True}
    told = shop.run("jobs", "-n", "2").stderr
    assert told.startswith("The 2 newest; older ones follow with --more ")
    found = shop.run("jobs", "-n", "9", "--more", told.split()[-1])
    assert [line.split()[-1] for line in found.stdout.splitlines()[1:]] == jobs[2::-1]
    assert "The 2 newest of 5;" in shop.run("jobs", "-n", "2", "-q", "mail").stderr
    assert [job["id"] for job in shop.listed("--before", jobs[2][-8:])] == jobs[1::-1]


def test_a_cursor_is_good_for_its_filter_alone(shop: Shop) -> None:
    for number in range(3):
        shop.done("enqueue", "welcome", str(number))
    cursor = cast("dict[str, Any]", shop.json("jobs", "-n", "1"))["next"]
    for words, complaint in ((("-k", "welcome", "--more", cursor), "another filter"), (("--more", "x"), "this store")):
        result = shop.run("jobs", *words)
        assert result.exit_code == 2
        assert complaint in result.stderr


def test_a_search_that_ends_early_says_how_far_it_came(shop: Shop) -> None:
    wanted = shop.done("enqueue", "welcome", "0", "--tag", "rare")
    for number in range(6):
        shop.done("enqueue", "welcome", str(number))
    words = ("--filter", "tag:rare", "-n", "1", "--within", "0s")
    page = cast("dict[str, Any]", shop.json("jobs", *words))
    assert (page["jobs"], page["searched"]["complete"]) == ([], False)
    assert page["searched"]["back_to"].endswith("Z")
    told = shop.run("jobs", *words).stderr
    assert re.match(r"Nothing yet back to \d+ \w+ \d{4}, [\d:]{8}; search on with --more ", told)
    assert wanted in shop.run("jobs", *words, "--more", told.split()[-1]).stdout
    assert wanted in shop.run("jobs", *words[:-2]).stdout


def test_limit_out_of_range_is_refused(shop: Shop) -> None:
    for limit in ("0", "-1", "1001", "many"):
        assert shop.run("jobs", "-n", limit).exit_code == 2


def test_what_steers_terminals_is_left_out(shop: Shop) -> None:
    job = finished(shop, "broken", "\x1b[31mred\x1b]8;;http://x\x07\x9b0m\u202eback\nforged line")
    for words in (["jobs"], ["jobs", "--json"], ["show", job], ["show", job, "--json"]):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shop.done(*words)), words
    assert len(shop.done("jobs").split("\n")) == 2


def test_json_keeps_what_the_screen_leaves_out(shop: Shop) -> None:
    text = "\x1b[31m\x9b\u202e"
    job = shop.done("enqueue", "welcome", "7", text)
    assert cast("dict[str, object]", shop.json("show", job))["arguments"] == {"user_id": 7, "name": text}


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────────


def test_beginning_and_end_of_an_id_name_its_job(any_shop: Shop) -> None:
    job, other = any_shop.done("enqueue", "welcome", "1"), any_shop.done("enqueue", "welcome", "2")
    for typed in (job, job.upper(), job[-8:], job[-6:], f"…{job[-8:]}", job[:-1]):
        assert cast("dict[str, object]", any_shop.json("show", typed))["id"] == job
    result = any_shop.run("show", job[:8])
    if other.startswith(job[:8]):
        assert result.exit_code == 2
        assert "fits several jobs" in result.stderr


@pytest.mark.parametrize("last", ["0", "f"])
def test_id_without_its_last_character_names_the_job(
    any_shop: Shop, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = ids.new_ids
    monkeypatch.setattr(ids, "new_ids", lambda count: [made[:-1] + last for made in make(count)])
    job = any_shop.done("enqueue", "welcome", "1")
    assert job.endswith(last)
    assert cast("dict[str, object]", any_shop.json("show", job[:-1]))["id"] == job


def test_id_of_no_job_ends_with_three(any_shop: Shop) -> None:
    any_shop.done("migrate")
    for typed in ("0123abcd", "01936f5e-7c1a-7d2b-8e3f-0123456789ab", "01936f5e-7c1a"):
        assert any_shop.run("show", typed).exit_code == 3


def test_text_that_is_no_id_ends_with_two(any_shop: Shop) -> None:
    any_shop.done("migrate")
    for typed in ("", "abcde", "welcome", "../../etc", "%2e%2e", "a" * 10_000, "01936f5e\n7c1a"):
        assert any_shop.run("show", typed).exit_code == 2, typed


# ── show ─────────────────────────────────────────────────────────────────────────────────────────────


def test_show_tells_of_a_job_that_completed(any_shop: Shop) -> None:
    job = finished(any_shop, "count", "25")
    told = any_shop.done("show", job)
    assert told.startswith(f"✓ completed  count  {job}")
    for line in (r"queue +reports", r"progress +100%, 25 of 25", r"arguments +n = 25", r"result +25"):
        assert re.search(line, told), line
    timeline = told.partition("Timeline\n")[2]
    worker = f"{socket.gethostname()}:embedded"
    lines = [re.sub(r" \d\d:\d\d:\d\d( \+\w+)?", "", " ".join(line.split())) for line in timeline.splitlines()]
    assert lines[:3] == ["1 enqueued", f"2 attempt 1 started on {worker}", "3 completed"]
    stored = cast("dict[str, object]", any_shop.json("show", job))
    assert (stored["reason"], stored["worker"]) == (None, None)
    assert [attempt["worker"] for attempt in cast("list[dict[str, object]]", stored["attempts"])] == [worker]


def test_show_tells_why_a_job_failed_with_each_error_once(any_shop: Shop) -> None:
    job = finished(any_shop, "broken", "no luck")
    told = any_shop.done("show", job)
    assert "failed in 2 attempts" in told
    assert re.search(r"attempt +2 of 2", told)
    assert "attempt 1 failed: ValueError: no luck" in told
    assert "failed for good: ValueError: no luck (failed in 2 attempts)" in told
    assert told.count("Traceback (most recent call last)") == 1
    assert "Error, 2 times, last at" in told
    assert "raise ValueError(why)" in told


def test_show_prints_the_first_and_the_last_events_of_a_long_timeline(any_shop: Shop) -> None:
    job = any_shop.done("enqueue", "count", "25")
    for _ in range(15):
        any_shop.app.get_job(job).pause()
        any_shop.app.get_job(job).resume()
    some, every = (any_shop.done("show", job, *words).partition("Timeline\n")[2] for words in ((), ("--events",)))
    numbers = [re.findall(r"^ +(\d+|…) ", told, re.MULTILINE) for told in (some, every)]
    assert numbers[0] == [*map(str, range(1, 6)), "…", *map(str, range(17, 32))]
    assert numbers[1] == [*map(str, range(1, 32))]
    assert f"11 more: posthorse show {job[-8:]} --events" in some


def test_show_as_json_holds_everything(any_shop: Shop) -> None:
    job = finished(any_shop, "broken", "no luck")
    told = cast("dict[str, object]", any_shop.json("show", job))
    assert told["state"] == "failed"
    assert told["arguments"] == {"why": "no luck"}
    events = cast("list[dict[str, object]]", told["events"])
    assert [(event["number"], event["name"]) for event in events if event["name"] not in ("started", "queued")] == [
        (1, "submitted"),
        (3, "attempt_failed"),
        (events[-1]["number"], "failed"),
    ]
    assert [event["name"] for event in events if "ValueError: no luck" in str(event["detail"])] == [
        "attempt_failed",
        "failed",
    ]


def test_long_arguments_are_cut_on_the_screen_alone(shop: Shop) -> None:
    job = shop.done("enqueue", "welcome", "7", "n" * 5_000)
    assert "(5,002 characters; --json shows all)" in " ".join(shop.done("show", job).split())
    assert len(shop.done("show", job, "--json")) > 5_000


# ── workers ──────────────────────────────────────────────────────────────────────────────────────────


def test_workers_are_listed_while_they_work(any_shop: Shop) -> None:
    any_shop.done("migrate")
    with any_shop.working(queues=["mail", "reports"], concurrency=3):
        heading, row = [re.split(r"  +", line) for line in any_shop.done("workers").split("\n")]
        (told,) = cast("list[dict[str, object]]", any_shop.json("workers"))
    assert heading == ["WORKER", "PID", "STATE", "BEAT", "RUNNING", "QUEUES", "KINDS"]
    assert row[2:] == ["idle", "now", "0/3", "mail, reports", "6"]
    assert (told["state"], told["queues"], told["concurrency"]) == ("idle", ["mail", "reports"], 3)


def test_without_workers_the_first_command_is_taught(shop: Shop) -> None:
    result = shop.run("workers")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "posthorse worker" in result.stderr
    assert json.loads(shop.done("workers", "--json")) == []


def test_words_after_jobs_are_a_filter(shop: Shop) -> None:
    mine, other = shop.done("enqueue", "welcome", "1"), shop.done("enqueue", "count", "3")
    assert mine in shop.done("jobs", "kind:welc*", "age:<1h")
    assert other not in shop.done("jobs", "kind:welc*", "age:<1h")
    assert other in shop.done("jobs", "state:pending", "--filter", "-kind:welcome")
