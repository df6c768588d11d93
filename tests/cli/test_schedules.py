"""`posthorse schedules`: with the application, with a store only, and for scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

import posthorse as ph
from posthorse.app.schedules import known_schedules
from tests.cli.conftest import Shop, make_shop
from tests.waiting import until

SCHEDULES = """

app.schedule(welcome.bind(1), name="nightly", cron="0 3 * * MON-FRI", tz="Europe/Berlin")
app.schedule(welcome.bind(2), name="often", every="10m", misfire="skip")
app.schedule(welcome.bind(3), name="quick", every="1s", overlap="allow")
"""


@pytest.fixture
def clockwork(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Yield the shop, with schedules."""
    shop = make_shop(tmp_path, store_url, monkeypatch)
    with (tmp_path / "shop.py").open("a", encoding="utf-8") as file:
        file.write(SCHEDULES)
    yield shop
    shop.close()


def states(shop: Shop) -> dict[str, str]:
    listed = shop.json("schedules")
    assert isinstance(listed, list)
    return {schedule["name"]: schedule["state"] for schedule in listed}


def test_the_list_tells_what_runs_when_and_whether_somebody_attends(clockwork: Shop) -> None:
    lines = clockwork.done("schedules").splitlines()
    assert lines[0].split() == ["NAME", "STATE", "WHEN", "NEXT", "LAST", "KIND"]
    assert lines[1].split()[:3] == ["nightly", "unattended", "0"]
    assert "0 3 * * MON-FRI Europe/Berlin" in lines[1]
    assert "every 10m" in lines[2]
    app = clockwork.app
    with app.worker(queues=["nobody"]):
        until(lambda: any(known.row and known.row.last_job for known in known_schedules(app)))
    assert states(clockwork) == {"nightly": "active", "often": "active", "quick": "active"}
    [quick] = [line for line in clockwork.done("schedules").splitlines() if line.startswith("quick")]
    assert quick.split()[-1] == "welcome"


def test_schedules_are_paused_resumed_and_triggered_by_name(clockwork: Shop) -> None:
    assert clockwork.done("schedules", "pause", "nightly", "often") == "paused  nightly\npaused  often"
    assert states(clockwork) == {"nightly": "paused", "often": "paused", "quick": "unattended"}
    assert clockwork.done("schedules", "resume", "nightly") == "unattended  nightly"
    job = clockwork.done("schedules", "trigger", "often")
    status = clockwork.app.get_job(job).status()
    assert (status.schedule, status.kind, status.queue) == ("often", "welcome", "mail")
    assert job in clockwork.done("schedules", "--json")


def test_a_store_is_enough_once_a_schedule_is_in_it(clockwork: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    clockwork.done("schedules", "pause", "nightly")
    monkeypatch.delenv("POSTHORSE_APP")
    assert states(clockwork) == {"nightly": "paused"}
    job = clockwork.done("schedules", "trigger", "nightly", "--url", clockwork.url)
    assert clockwork.done("schedules", "resume", "nightly") == "unattended  nightly"
    assert json.loads(clockwork.done("show", job, "--json"))["kind"] == "welcome"


def test_a_schedule_that_left_the_code_is_forgotten_and_one_that_a_worker_declares_is_not(clockwork: Shop) -> None:
    with clockwork.working(queues=["nobody"]):
        until(lambda: "active" in states(clockwork).values())
        result = clockwork.run("schedules", "forget", "nightly", "--json")
        assert result.exit_code == 4
        assert "a living worker declares schedule 'nightly'" in json.loads(result.stdout)["error"]
        assert states(clockwork)["nightly"] == "active"
        until(lambda: any(known.row and known.row.last_job for known in known_schedules(clockwork.app)))
    app = clockwork.app
    job = next(known.row.last_job for known in known_schedules(app) if known.row and known.row.last_job)
    assert clockwork.done("schedules", "forget", "quick", "nightly") == "forgotten  quick\nforgotten  nightly"
    assert [known.declared.name for known in known_schedules(app) if known.row is not None] == ["often"]
    assert fires(app) == 0
    assert app.get_job(job).status().schedule == "quick", "its jobs stay"
    result = clockwork.run("schedules", "forget", "quick")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "only the code of this application declares it" in result.stderr


def fires(app: ph.Posthorse) -> int:
    """How many times of schedules are remembered."""
    table = "posthorse_fires" if app.store.backend.capabilities.is_file else "posthorse.fires"
    with app.store.transaction() as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # type: ignore[attr-defined,no-any-return]


def test_the_next_times_are_shown_in_the_zone_of_the_schedule(clockwork: Shop) -> None:
    result = clockwork.run("schedules", "next", "nightly")
    assert "At 03:00 on Monday through Friday" in result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 10
    assert all(" 03:00:00 CE" in line for line in lines)
    listed = clockwork.json("schedules", "next", "often", "-n", "3")
    assert isinstance(listed, list)
    times = [datetime.fromisoformat(text) for text in listed]
    assert [later - time for time, later in pairwise(times)] == [timedelta(minutes=10)] * 2
    clockwork.done("schedules", "pause", "nightly")
    assert "It is paused" in clockwork.run("schedules", "next", "nightly").stderr


def test_a_name_that_is_not_known_names_the_nearest(clockwork: Shop) -> None:
    result = clockwork.run("schedules", "next", "nigtly")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "there is no schedule 'nigtly'; did you mean 'nightly'?" in result.stderr
    result = clockwork.run("schedules", "pause", "nigtly", "often", "--json")
    assert result.exit_code == 3
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(answer["name"], answer["state"]) for answer in answers] == [("nigtly", None), ("often", "paused")]


def test_where_there_are_no_schedules_that_is_said(shop: Shop) -> None:
    result = shop.run("schedules")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "There are no schedules. Declare one" in result.stderr
    assert shop.json("schedules") == []
    assert not (shop.folder / "jobs.db").exists(), "who only looks makes no store"
