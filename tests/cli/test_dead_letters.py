"""Dead letters on the command line: many are listed, retried and discarded by a filter."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Shop
from tests.cli.test_steering import work_off


@pytest.fixture
def letters(any_shop: Shop) -> list[str]:
    jobs = [any_shop.done("enqueue", "broken", why) for why in ("one", "two", "three")]
    work_off(any_shop, *jobs)
    return jobs


def test_letters_that_fit_are_listed_discarded_and_retried(any_shop: Shop, letters: list[str]) -> None:
    wanted = "state:failed error:ValueError"
    assert {job["id"] for job in any_shop.listed("--filter", wanted)} == {*letters}
    assert any_shop.done("discard", letters[0]) == f"cancelled  {letters[0]}"
    assert any_shop.done("retry", "--all", wanted, "--rate", "1/h") == "2 retried"
    states = [any_shop.app.get_job(job).status().state for job in letters]
    assert (states[0], {*states[1:]}) == ("cancelled", {"pending", "scheduled"})
    assert json.loads(any_shop.done("discard", "--all", "kind:broken", "--json")) == {"discarded": 0}
    assert any_shop.run("jobs", "--filter", wanted).stderr == "No job fits.\n"


def test_every_attempt_is_shown_with_its_evidence(any_shop: Shop, letters: list[str]) -> None:
    shown = any_shop.done("show", letters[0])
    assert "Attempts" in shown
    told = json.loads(any_shop.done("show", letters[0], "--json"))["attempts"]
    assert [(attempt["number"], attempt["outcome"]) for attempt in told] == [(1, "failed"), (2, "failed")]
    assert all(attempt["error"]["message"] == "one" and attempt["worker"] for attempt in told)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["retry"], "give the ids of jobs, or --all FILTER"),
        (["discard", "abcdef", "--all", "kind:broken"], "give the ids of jobs, or --all FILTER"),
        (["retry", "abcdef", "--rate", "1/s"], "it goes with --all"),
        (["retry", "--all", "sate:failed"], "did you mean 'state'"),
        (["retry", "--all", ""], "the filter is empty"),
        (["discard", "--all", " \t"], "the filter is empty"),
        (["cancel", "--all", ""], "the filter is empty"),
        (["pause", "--all", ""], "the filter is empty"),
        (["resume", "--all", "", "--dry-run"], "the filter is empty"),
        (["cancel", "abcdef", "--dry-run"], "--dry-run is for many jobs"),
        (["pause", "--all", "kind:broken", "--force"], "--force takes ids"),
        (["retry", "--all", "kind:broken", "--rate", "fast", "--dry-run"], "rate"),
        (["retry", "--all", "kind:broken", "--bad-items"], "takes ids"),
        (["jobs", "--filter", "kind:broken", "-k", "welcome"], "says kind twice"),
        (["jobs", "-q", ""], "queue is ''"),
        (["watch", "-k", " "], "kind is ' '"),
        (["run", "welcome", "7", "--key", ""], "key is ''"),
        (["queues", "set", "mail", "rate="], "rate=none to take it back"),
        (["bench", "--url", ""], "not the address of a store"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(shop: Shop, words: list[str], complaint: str) -> None:
    shop.done("migrate")
    result = shop.run(*words)
    assert result.exit_code == 2
    assert complaint in result.stderr


def test_a_store_that_nobody_made_has_no_letters(shop: Shop) -> None:
    assert shop.done("retry", "--all", "state:failed") == "0 retried"


@pytest.mark.parametrize("verb", ["retry", "discard", "cancel", "pause", "resume"])
def test_an_empty_filter_is_refused_before_there_is_a_store(shop: Shop, verb: str) -> None:
    assert shop.run(verb, "--all", "").exit_code == 2
    assert not (shop.folder / "jobs.db").exists()


def test_a_dry_run_counts_and_changes_nothing(any_shop: Shop, letters: list[str]) -> None:
    waiting = any_shop.done("enqueue", "welcome", "7")
    assert any_shop.done("retry", "--all", "kind:broken", "--dry-run") == "3 would be retried"
    assert json.loads(any_shop.done("cancel", "--all", "newer:1d", "--dry-run", "--json")) == {
        "cancelled": 0,
        "would_be_cancelled": 1,
    }
    states = [any_shop.app.get_job(job).status().state for job in (*letters, waiting)]
    assert states == ["failed", "failed", "failed", "pending"]


def test_many_are_paused_resumed_and_cancelled(any_shop: Shop) -> None:
    jobs = [any_shop.done("enqueue", "welcome", str(number)) for number in range(3)]
    for words, told, state in (
        (["pause", "--all", "kind:welcome"], "3 paused", "paused"),
        (["resume", "--all", "kind:welcome"], "3 resumed", "pending"),
        (["resume", "--all", "kind:welcome"], "0 resumed", "pending"),
        (["cancel", "--all", "kind:welcome"], "3 cancelled", "cancelled"),
    ):
        assert any_shop.done(*words) == told
        assert {any_shop.app.get_job(job).status().state for job in jobs} == {state}
    assert any_shop.json("pause", "--all", "kind:welcome") == {"paused": 0, "running": 0}
