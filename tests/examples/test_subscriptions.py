"""The subscriptions example: the tests play it with fewer of them, and its verification must notice what is wrong."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from examples.subscriptions import tables
from tests.examples.test_flights import run as run_flights

EXAMPLE = Path(__file__).parents[2] / "examples" / "subscriptions"
SECONDS = 290


@pytest.mark.timeout(SECONDS + 10)
def test_ledger_balances_whoever_is_killed(store_url: str, tmp_path: Path) -> None:
    command = [str(EXAMPLE / "demo.py"), "--url", store_url, "--subscriptions", "1500", "--slice-size", "25"]
    deadly = ["kill-worker"] if store_url.startswith("sqlite") else []  # on PostgreSQL, flights has enough kills
    played = run_flights([*command, "--acts", *deadly], tmp_path, tmp_path)
    assert played.returncode == 0, played.stdout + played.stderr
    due = tables.count_due(store_url, str(tables.TODAY))
    assert f"Verified: {due:,} subscriptions, each expired and booked exactly once" in played.stdout
    assert ("kill -9" in played.stdout) is bool(deadly)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("UPDATE demo_subscriptions SET times_expired = 2 WHERE id = 1", "were not expired exactly once"),
        ("UPDATE demo_subscriptions SET state = 'expired' WHERE id = 2", "were touched and were not due"),
        ("INSERT INTO demo_ledger SELECT * FROM demo_ledger WHERE subscription = 1", "did not leave `prepaid`"),
        ("DELETE FROM demo_ledger WHERE subscription = 1 AND book = 'refunds'", "do not add up to nothing"),
        ("UPDATE demo_accounts SET credit = credit + 1 WHERE id = 1", "whose credit is not"),
    ],
)
def test_verification_notices_what_is_wrong(tmp_path: Path, damage: str, complaint: str) -> None:
    store = tmp_path / "shop.db"
    url = f"sqlite:///{store}"
    tables.make_anew(url, 4)
    with sqlite3.connect(store) as connection:
        connection.execute("DELETE FROM demo_subscriptions WHERE id > 2")
        connection.execute(
            "UPDATE demo_subscriptions SET ends_on = '2026-11-01', account = 1, cents = 300, used_days = 10, "
            "state = 'expired', times_expired = 1 WHERE id = 1"
        )
        connection.execute("UPDATE demo_subscriptions SET ends_on = '2026-12-24' WHERE id = 2")
        connection.execute(
            "INSERT INTO demo_ledger VALUES (1, 1, 'prepaid', -300), (1, 1, 'revenue', 100), (1, 1, 'refunds', 200)"
        )
        connection.execute("UPDATE demo_accounts SET credit = 200 WHERE id = 1")
    connection.close()
    assert verified(url).returncode == 0, verified(url).stdout
    with sqlite3.connect(store) as connection:
        connection.execute(damage)
    connection.close()
    told = verified(url)
    assert told.returncode == 1
    assert complaint in told.stdout


def verified(url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE / "verify.py"), url, str(tables.TODAY)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
