"""`bad-items`: what a job tolerated, page by page, for people and for programs."""

from __future__ import annotations

import json

import pytest

import posthorse as ph
from tests.cli.conftest import Shop
from tests.cli.test_steering import work_off


class Unkeepable:
    def __repr__(self) -> str:
        return "<unkeepable>"


@pytest.fixture
def tolerant(any_shop: Shop) -> str:
    """Return the id of a job with 23 bad items in two loops."""

    @any_shop.app.job(max_attempts=1)
    def picky(ctx: ph.Context) -> None:
        for name, count in (("one:1", 20), ("two", 3)):
            for batch in ctx.slices(range(count), name=name, tolerate=100, size=5):
                for number in batch:
                    with batch.tolerate(number if number else Unkeepable()):
                        raise ValueError(f"no\x1b[31m price\n{number}")

    job = picky.enqueue()
    work_off(any_shop, job.id)
    assert job.status().state == "completed"
    return job.id


def test_bad_items_are_listed_in_pages(any_shop: Shop, tolerant: str) -> None:
    first = any_shop.run("bad-items", tolerant)
    assert first.exit_code == 0
    lines = first.stdout.splitlines()
    assert lines[0].split() == ["LOOP", "NUMBER", "AT", "ITEM", "ERROR"]
    assert len(lines) == 21
    assert "1*" in lines[1]
    assert "<unkeepable>" in lines[1]
    assert "ValueError: no price 19" in lines[20]
    assert "\x1b" not in first.stdout
    assert "20 of 23; those after them with --after 'one:1:20'" in first.stderr
    second = any_shop.done("bad-items", tolerant, "--after", "one:1:20")
    assert [line.split()[:2] for line in second.splitlines()[1:]] == [["two", "1*"], ["two", "2"], ["two", "3"]]
    assert any_shop.run("bad-items", tolerant, "--after", "two:3").stderr == "There are no more.\n"


def test_bad_items_as_json_have_item_and_error(any_shop: Shop, tolerant: str) -> None:
    found = json.loads(any_shop.done("bad-items", tolerant, "-n", "100", "--json"))
    assert len(found) == 23
    assert (found[0]["item"], found[0]["is_retryable"]) == ("<unkeepable>", False)
    assert (found[22]["loop"], found[22]["number"], found[22]["item"]) == ("two", 3, 2)
    assert found[22]["error"]["type"] == "ValueError"
    assert "Traceback" in found[22]["error"]["traceback"]
    assert found[22]["error"]["message"] == "no\x1b[31m price\n2"


def test_tracebacks_are_shown_when_asked_for(any_shop: Shop, tolerant: str) -> None:
    assert "Traceback" not in any_shop.done("bad-items", tolerant, "-n", "1")
    assert "  ValueError: no" in any_shop.done("bad-items", tolerant, "-n", "1", "--tracebacks")


def test_show_adds_the_first_of_them(any_shop: Shop, tolerant: str) -> None:
    shown = any_shop.run("show", tolerant, "--bad-items")
    assert "Bad items" in shown.stdout
    assert f"20 of 23; all with `posthorse bad-items {tolerant}`" in shown.stderr
    told = json.loads(any_shop.done("show", tolerant, "--bad-items", "--json"))
    assert (told["bad_items"], len(told["first_bad_items"])) == (23, 20)
    assert "first_bad_items" not in json.loads(any_shop.done("show", tolerant, "--json"))


def test_a_job_without_bad_items_and_a_place_that_is_none(any_shop: Shop) -> None:
    job = any_shop.done("enqueue", "welcome", "7")
    result = any_shop.run("bad-items", job)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "It has no bad items.\n")
    assert any_shop.json("bad-items", job) == []
    for after in ("", "7", "loop:", "loop:-1", "loop:" + "9" * 30):
        assert any_shop.run("bad-items", job, "--after", after).exit_code == 2
    assert any_shop.run("bad-items", "ffffffff").exit_code == 3
    unknown = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"
    for words in ([], ["--after", "loop:1"], ["--json"]):
        assert any_shop.run("bad-items", unknown, *words).exit_code == 3
