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
    found = json.loads(any_shop.done("jobs", "--filter", wanted, "--json"))
    assert [job["id"] for job in found] == letters
    assert any_shop.done("discard", letters[0]) == f"cancelled  {letters[0]}"
    assert any_shop.done("retry", "--all", wanted, "--rate", "1/h") == "2 retried"
    assert [any_shop.app.get_job(job).status().state for job in letters] == ["cancelled", "pending", "scheduled"]
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
        (["retry", "--all", "kind:broken", "--bad-items"], "takes ids"),
        (["jobs", "--filter", "kind:broken", "--state", "failed"], "--filter goes alone"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(shop: Shop, words: list[str], complaint: str) -> None:
    shop.done("migrate")
    result = shop.run(*words)
    assert result.exit_code == 2
    assert complaint in result.stderr


def test_a_store_that_nobody_made_has_no_letters(shop: Shop) -> None:
    assert shop.done("retry", "--all", "state:failed") == "0 retried"
