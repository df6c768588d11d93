"""Stock under SIGKILL: no more is ordered than lacks, and no ticket is anybody's twice, or lost by a rollback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import posthorse as ph
from tests.crash.harness import ROOT, SHORT_LEASE
from tests.crash.stocks import LEVEL, transaction
from tests.waiting import until

KILLED = -9


@contextmanager
def office(url: str) -> Iterator[tuple[ph.Posthorse, ph.Stock[str]]]:
    """Yield an application of this process with the same shelf."""
    with closing(ph.Posthorse(url)) as app:

        @app.job(queue="tickets")
        def ticket(ctx: ph.Context) -> str:
            return ctx.job_id

        yield app, app.stock(ticket.bind(), level=LEVEL, name="tickets")


def run(url: str, said: Path, *words: str, failpoint: str = "") -> subprocess.Popen[bytes]:
    """Start a program that writes what it says to a file."""
    environment = os.environ | {
        "POSTHORSE_URL": url,
        "POSTHORSE_LEASE": SHORT_LEASE,
        "POSTHORSE_FAILPOINT": failpoint,
    }
    with said.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", *words], env=environment, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
        )


def worker(url: str, said: Path, failpoint: str = "") -> subprocess.Popen[bytes]:
    return run(url, said, "posthorse", "worker", "--app", "tests.crash.stocks:app", failpoint=failpoint)


def fill(app: ph.Posthorse, tickets: ph.Stock[str]) -> None:
    with app.worker():
        until(lambda: tickets.status().made == LEVEL, what="the shelf is full")


@pytest.mark.parametrize("point", ["before_order", "after_order"])
def test_a_worker_killed_while_it_refills_orders_nothing_twice(store_url: str, tmp_path: Path, point: str) -> None:
    with office(store_url) as (app, tickets):
        app.migrate()
        killed = worker(store_url, tmp_path / "killed", f"{point}:kill")
        assert killed.wait(60) == KILLED, (tmp_path / "killed").read_text()
        following = worker(store_url, tmp_path / "following")
        try:
            until(lambda: tickets.status().made == LEVEL, what="the shelf is full", patience=60)
            assert app.jobs().count() == LEVEL
        finally:
            following.terminate()
            assert following.wait(30) == 0, (tmp_path / "following").read_text()


def test_a_buyer_killed_before_its_commit_gives_back_what_it_took(store_url: str, tmp_path: Path) -> None:
    """The process dies in the transaction that takes a ticket and writes it down: both happen, or neither."""
    with office(store_url) as (app, tickets):
        app.migrate()
        with transaction(store_url) as connection:
            connection.execute("CREATE TABLE bought (ticket text NOT NULL)")
        fill(app, tickets)
        buyers = [
            run(store_url, tmp_path / f"{number}", "tests.crash.stocks", "buy", "9", failpoint="after_take:kill:4")
            for number in range(3)
        ]
        assert [buyer.wait(60) for buyer in buyers] == [KILLED] * 3
        assert tickets.status().made == LEVEL - 9, "each bought three, and died with the fourth in its hands"
        last = run(store_url, tmp_path / "last", "tests.crash.stocks", "buy", str(LEVEL - 9))
        assert last.wait(60) == 0, (tmp_path / "last").read_text()
        with transaction(store_url) as connection:
            bought = [found for (found,) in connection.execute("SELECT ticket FROM bought").fetchall()]
        assert sorted(bought) == sorted(job.id for job in app.jobs()), "every ticket once"


def test_a_taker_killed_after_its_commit_loses_at_most_that_ticket(store_url: str, tmp_path: Path) -> None:
    with office(store_url) as (app, tickets):
        app.migrate()
        fill(app, tickets)
        points = ("before_take", "after_take")
        takers = [
            run(store_url, tmp_path / point, "tests.crash.stocks", "grab", "5", failpoint=f"{point}:kill:3")
            for point in points
        ]
        assert [taker.wait(60) for taker in takers] == [KILLED] * 2
        grabbed = [ticket for point in points for ticket in (tmp_path / point).read_text().split()]
        left = tickets.take_many(LEVEL)
        assert len(left) == LEVEL - len(grabbed) - 1, "the one that was taken and not delivered is gone"
        assert len({*grabbed, *left}) == len(grabbed) + len(left), "no other process got it"
