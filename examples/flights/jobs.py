"""The jobs: one long job that reads a year of flights in slices, and small ones that it enqueues on its way.

posthorse worker --app examples.flights.jobs:app --processes 2 --concurrency 1
"""

from __future__ import annotations

import csv
import os
import statistics
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from io import TextIOWrapper
from typing import IO, TypedDict

import posthorse as ph
from examples import begun
from examples.flights.darkness import minutes_in_the_dark, place
from examples.flights.places import airports, flights_file, folder
from examples.flights.tables import add

app = ph.Posthorse(lease="3s")  # the store is $POSTHORSE_URL; with a short lease, lost workers are noticed soon

Sums = dict[tuple[str, str], list[int]]
PLACES = {code: place(*where) for code, where in airports().items()}


class Record(TypedDict):
    """The longest delay so far."""

    minutes: int
    flight: str


@dataclass
class Summary:
    """The result of the long job."""

    flights: int
    longest_delay: str
    pages: list[str]


@app.job(queue="reports")
def flight_report(ctx: ph.Context, slice_size: int = 2000) -> Summary:
    """Add every flight to the report of its airline, of its week and of its day, exactly once."""
    path, member = flights_file()
    statement = add(app.settings.url)
    months = ctx.keep("months", list[str]())  # kept values are committed with every slice …
    pages = ctx.keep("pages", list[str]())
    record = ctx.keep("record", Record(minutes=0, flight=""))
    for batch in ctx.slices(ph.csv(path, member=member), size=slice_size):
        begun.note(folder())
        sums = add_up(batch)  # … and while this computes, no transaction is open
        keep_longest_delay(batch, record)
        with batch.transaction() as connection:
            for (report, key), numbers in sums.items():
                connection.execute(statement, (report, key, *numbers))
            for month in (row["month"] for row in batch):
                if month not in months:  # the month before is complete: its page is enqueued with this very slice
                    pages += [month_page.enqueue(int(done)).id for done in months[-1:]]
                    months.append(month)
    # What follows the loop does not commit with a slice, so it may run twice. The key makes that harmless.
    last = month_page.using(key=f"last page of {ctx.job_id}").enqueue(int(months[-1]))
    return Summary(ctx.progress.done, record["flight"], [*pages, last.id])


@app.job(queue="pages")
def month_page(month: int) -> str:
    """Write a page about the punctuality of a month. The job may run twice, so it replaces what it wrote."""
    delays = defaultdict[str, list[int]](list)
    for row in flights_of(month):
        if row["arr_delay"] != "NA":
            delays[row["dest"]].append(int(row["arr_delay"]))
    lines = [f"Arrivals in 2013-{month:02}: flights, median delay and 90 % of delays below, in minutes"]
    for destination, minutes in sorted(delays.items()):
        tenths = statistics.quantiles(minutes, n=10) if len(minutes) > 1 else minutes * 9
        lines.append(f"{destination} {len(minutes):6,} {statistics.median(minutes):8g} {tenths[8]:8g}")
    page = folder() / f"2013-{month:02}.txt"
    draft = page.with_suffix(f".{os.getpid()}")
    draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
    draft.replace(page)
    return page.name


def add_up(flights: Iterable[dict[str, str]]) -> Sums:
    """Return flights, cancelled ones, minutes of delay, miles, and minutes in the dark per airline, week and day."""
    sums: Sums = defaultdict(lambda: [0, 0, 0, 0, 0])
    for row in flights:
        day = date(int(row["year"]), int(row["month"]), int(row["day"]))
        year, week, _ = day.isocalendar()
        is_cancelled = row["dep_time"] == "NA"
        delay = 0 if row["dep_delay"] == "NA" else int(row["dep_delay"])
        numbers = (1, int(is_cancelled), delay, int(row["distance"]), darkness_of(row, delay))
        week_name = f"{year}-W{week:02}"
        for key in (("all", ""), ("airline", row["carrier"]), ("week", week_name), ("day", day.isoformat())):
            for position, number in enumerate(numbers):
                sums[key][position] += number
    return sums


def darkness_of(row: dict[str, str], delay: int) -> int:
    """Return the minutes in the dark; 0 for flights that did not arrive, and for the few airports without a
    location."""
    start, end = PLACES.get(row["origin"]), PLACES.get(row["dest"])
    if start is None or end is None or row["air_time"] == "NA":
        return 0
    scheduled = datetime.fromisoformat(row["time_hour"]) + timedelta(minutes=int(row["minute"]))
    return minutes_in_the_dark(start, end, scheduled + timedelta(minutes=delay), int(row["air_time"]))


def keep_longest_delay(flights: Iterable[dict[str, str]], record: Record) -> None:
    """Change the kept record in place if one of these flights was later."""
    for row in flights:
        if row["dep_delay"] != "NA" and int(row["dep_delay"]) > record["minutes"]:
            where = f"{row['carrier']}{row['flight']} from {row['origin']} to {row['dest']}"
            hours, minutes = divmod(int(row["dep_delay"]), 60)
            day = f"{row['year']}-{int(row['month']):02}-{int(row['day']):02}"
            record.update(
                {"minutes": int(row["dep_delay"]), "flight": f"{where} on {day}, {hours} h {minutes} min late"}
            )


def flights_of(month: int) -> Iterator[dict[str, str]]:
    """Yield one month, in a single pass over the file."""
    path, member = flights_file()
    with ExitStack() as opened:
        if member is None:
            raw: IO[bytes] = opened.enter_context(path.open("rb"))
        else:
            raw = opened.enter_context(opened.enter_context(zipfile.ZipFile(path)).open(member))
        rows = csv.reader(TextIOWrapper(raw, encoding="utf-8", newline=""))
        columns = next(rows)
        for row in rows:
            if row[1] == str(month):
                yield dict(zip(columns, row, strict=True))
