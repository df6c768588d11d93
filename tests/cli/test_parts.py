"""`parts`: how many parts of a job run at once."""

from __future__ import annotations

import pytest

import posthorse as ph
from tests.cli.conftest import Shop


def test_the_number_of_parts_at_once_is_changed(any_shop: Shop) -> None:
    @any_shop.app.job(shards=3)
    def cut(ctx: ph.Context) -> None: ...

    job = cut.enqueue()
    assert any_shop.done("parts", job.id, "2") == f"2 at once  {job.id}"
    assert any_shop.json("parts", job.id, "all") == {"id": job.id, "parts": None}


@pytest.mark.parametrize("at_once", ["0", "1001", "-1", "many", "99999"])
def test_what_is_no_number_is_a_misuse(any_shop: Shop, at_once: str) -> None:
    result = any_shop.run("parts", "0123", "--", at_once)
    assert result.exit_code == 2
    assert "write a whole number from 1 to 1,000, or all" in result.stderr


def test_a_job_that_is_not_cut_is_a_conflict(any_shop: Shop) -> None:
    job = any_shop.done("enqueue", "welcome", "7").strip()
    result = any_shop.run("parts", job, "2")
    assert result.exit_code == 4
    assert "is not cut into parts" in result.stderr
