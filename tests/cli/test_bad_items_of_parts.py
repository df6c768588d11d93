"""`bad-items` and `show` of a job that was cut: those of all its parts, page by page."""

from __future__ import annotations

import json

import posthorse as ph
from tests.cli.conftest import Shop
from tests.cli.test_steering import work_off


def test_those_of_all_parts_are_listed_in_pages(any_shop: Shop) -> None:
    @any_shop.app.job(max_attempts=1, shards=3)
    def picky(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(6), name="prices", tolerate=6, size=1):
            for number in batch:
                with batch.tolerate(number):
                    raise ValueError(f"no price for {number}")

    job = picky.enqueue()
    work_off(any_shop, job.id)
    first = any_shop.run("bad-items", job.id, "-n", "3")
    assert [line.split()[:2] for line in first.stdout.splitlines()[1:]] == [
        ["prices", "1@0"],
        ["prices", "2@0"],
        ["prices", "1@1"],
    ]
    assert "3 of 6; those after them with --after 'prices:1@1'" in first.stderr
    second = json.loads(any_shop.done("bad-items", job.id, "--after", "prices:1@1", "--json"))
    assert [(bad["shard"], bad["number"], bad["item"]) for bad in second] == [(1, 2, 3), (2, 1, 4), (2, 2, 5)]
    assert any_shop.run("bad-items", job.id, "--after", "prices:1@").exit_code == 2
    shown = json.loads(any_shop.done("show", job.id, "--bad-items", "--json"))
    assert (shown["bad_items"], len(shown["first_bad_items"])) == (6, 6)
