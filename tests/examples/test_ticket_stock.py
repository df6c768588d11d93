"""The ticket example: the tests play it with fewer tickets, and its verification must notice what is wrong."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from examples.ticket_stock.jobs import seal_of
from tests.examples.test_flights import run as run_example

EXAMPLE = Path(__file__).parents[2] / "examples" / "ticket_stock"


@pytest.mark.timeout(200)
def test_every_ticket_is_sold_once_whatever_is_killed(store_url: str, tmp_path: Path) -> None:
    played = run_example([str(EXAMPLE / "demo.py"), "--url", store_url, "--tickets", "60"], tmp_path, tmp_path)
    assert played.returncode == 0, played.stdout + played.stderr
    assert "kill -9" in played.stdout
    assert "each genuine and sold once" in played.stdout


@pytest.mark.parametrize(
    ("sales", "complaint"),
    [([("7", "x")], "is not genuine"), ([("7", None), ("7", None)], "was sold 2 times"), ([], "")],
)
def test_verification_notices_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sales: list[tuple[str, str | None]], complaint: str
) -> None:
    monkeypatch.setenv("TICKET_SECRET", "a secret")
    store = tmp_path / "shop.db"
    with sqlite3.connect(store) as connection:
        connection.execute("CREATE TABLE demo_sales (number text, seal text, buyer text)")
        rows = [(number, seal or seal_of(number), "eva") for number, seal in sales]
        connection.executemany("INSERT INTO demo_sales VALUES (?, ?, ?)", rows)
    connection.close()
    command = [sys.executable, str(EXAMPLE / "verify.py"), f"sqlite:///{store}", "a secret"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert complaint in told.stdout
