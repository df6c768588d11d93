"""The table of the rivals is complete, each command can be built, and the notes of jobs are read correctly.

Nothing is installed.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.environment import Disk, Environment
from bench.rivals.commands import WORKERS, commands
from bench.rivals.conversation import noted, pickups
from bench.rivals.environments import Home
from bench.rivals.measuring import Sample
from bench.rivals.report import Measured, System, as_json, as_markdown
from bench.rivals.table import ENVIRONMENTS, NOT_MEASURED, OURS, RIVALS, SERVER_PACKAGES, Place, Rival, named
from bench.rivals.workers.tally import Tally

WANTED = {
    ("PgQueuer", Place.POSTGRES),
    ("Procrastinate", Place.POSTGRES),
    ("DBOS", Place.POSTGRES),
    ("graphile-worker", Place.POSTGRES),
    ("BullMQ", Place.REDIS),
    ("TaskIQ", Place.REDIS),
    ("Dramatiq", Place.REDIS),
    ("Celery", Place.REDIS),
    ("Huey", Place.REDIS),
    ("Huey", Place.SQLITE),
}


def test_every_rival_is_in_the_table_with_its_versions_and_its_price() -> None:
    assert {(rival.title, rival.place) for rival in RIVALS} == WANTED
    assert len({rival.name for rival in RIVALS}) == len(RIVALS)
    assert {rival.environment for rival in RIVALS} == ENVIRONMENTS.keys()
    for packages in (*ENVIRONMENTS.values(), SERVER_PACKAGES):
        for name, version in packages.versions.items():
            assert version[0].isdigit(), f"{name} is not pinned to one version"
            assert "/" not in f"{name}{version}", f"{name} names an address"
    for rival in RIVALS:
        price = rival.price
        assert all((price.row_kept, price.result_kept, price.delivery, rival.settings))
        assert rival.most_jobs % 1_000 == 0


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
def test_each_command_builds(rival: Rival, processes: int, tmp_path: Path) -> None:
    home = Home(tmp_path / rival.environment)
    built = commands(rival, home, url="store://here", tally=tmp_path, processes=processes)
    by_itself = any("{processes}" in word for word in rival.worker)
    assert len(built.workers) == (1 if by_itself else processes)
    for command in (built.client, *built.workers):
        assert Path(command[0]).is_absolute()
        assert all(word and "{" not in word for word in command)
    assert any(rival.module in word for word in built.client)
    assert built.variables["RIVAL_URL"] == "store://here"
    program = WORKERS / (rival.module if rival.module.endswith(".mjs") else f"{rival.module}.py")
    assert program.is_file()


def test_a_rival_is_named_by_itself_or_with_its_environment() -> None:
    assert [rival.name for rival in named(["huey"])] == ["huey-redis", "huey-sqlite"]
    assert [rival.name for rival in named(["huey-sqlite", "celery"])] == ["celery", "huey-sqlite"]
    assert named([]) == list(RIVALS)


def test_jobs_of_all_threads_are_counted(tmp_path: Path) -> None:
    tally = Tally(tmp_path)

    def work() -> None:
        for _ in range(500):
            tally.note()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = noted(tmp_path)
    assert told.jobs == 2_000
    assert 0 < told.first_start < told.last_end


def test_pickups_are_told_in_milliseconds(tmp_path: Path) -> None:
    assert pickups(tmp_path) == []
    Tally(tmp_path).note_pickup(sent=0)
    (waited,) = pickups(tmp_path)
    assert waited > 0


def test_the_report_compares_within_a_round_and_names_what_is_missing() -> None:
    ours = System("Posthorse", Place.POSTGRES, "1", "as it comes", "synced", OURS, is_ours=True)
    theirs = System("Their queue", Place.REDIS, "2", "fast", "everysec", OURS)
    measured = [
        Measured(ours, {1: _sample(jobs_a_second=10_000), 2: _sample(jobs_a_second=40_000)}),
        Measured(theirs, {1: _sample(jobs_a_second=5_000), 2: _sample(jobs_a_second=20_000)}),
        Measured(System("Gone", Place.POSTGRES, "3", "", "", OURS), {}),
    ]
    missing = {**NOT_MEASURED, "Gone (PostgreSQL)": "round 1: it said no"}
    text = as_markdown(_environment(), ["a server"], measured, missing)
    assert "| Their queue (Redis) | 2 | 1,000 | 12,500 (5,000 – 20,000) |" in text
    assert "| Their queue (Redis) | 0.50 | 0.50 |" in text  # 25,000 to 12,500 in the median, half in each round
    assert "- Gone (PostgreSQL): round 1: it said no" in text
    assert "a server" in as_json(_environment(), ["a server"], measured, missing)


def _sample(*, jobs_a_second: float) -> Sample:
    worked: Mapping[int, float] = {1: jobs_a_second / 2, 2: jobs_a_second}
    return Sample(jobs=1_000, worked=worked, acknowledged=worked, singly=100, bulk=1_000, pickup_ms=1.5)


def _environment() -> Environment:
    return Environment(2, "a processor", ["Python"], {"postgres": Disk("ext4", 0.1)}, 0.1, 0.2)
