"""`posthorse bad-items`: what a long job tolerated, page by page, with the error of each item."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from posthorse.app.client import Posthorse
from posthorse.cli.exits import Exit
from posthorse.cli.job_lookup import find_id
from posthorse.cli.screen import clean, out, out_json, say
from posthorse.cli.tables import Column, out_table
from posthorse.cli.target import json_option, open_store, target_options
from posthorse.cli.wording import clock_time
from posthorse.rules.job import BadItem, JobError
from posthorse.store.operations import read
from posthorse.store.operations.bad_items_of_parts import count_bad_items
from posthorse.store.operations.one_job import why_missing
from posthorse.views.bad_item import BadItemView, item_as_json

MAX_ITEM = 500
"""Maximum characters of an item or a message on the screen; `--json` shows all."""


@click.command("bad-items")
@click.argument("job_id", metavar="ID")
@click.option(
    "-n", "--limit", metavar="N", type=click.IntRange(1, 10_000), default=20, help="At most so many; else 20."
)
@click.option(
    "--after",
    metavar="LOOP:NUMBER",
    help="Only those after this one: the next page after its last. In a job that was cut, LOOP:NUMBER@PART.",
)
@click.option("--tracebacks", is_flag=True, help="Show the traceback of each, too.")
@target_options
@json_option
def bad_items(
    job_id: str, limit: int, after: str | None, tracebacks: bool, target: str | None, url: str | None, as_json: bool
) -> int:
    """List the bad items that a job tolerated.

    By loop and number, with the error of each; of a job that was cut, part by part. Those marked * were kept as
    text only, so `posthorse retry ID --bad-items` cannot run them again.

    \b
      posthorse bad-items 0123abcd
      posthorse bad-items 0123abcd --json -n 10000 | jq '.[].item'
    """
    before = None if after is None else _place(after)
    app = open_store(target, url)
    job = find_id(app, job_id)
    found = app.get_job(job).bad_items(limit=limit, after=before)
    if as_json:
        out_json([BadItemView.of(bad) for bad in found])
        return Exit.OK
    if before is not None and not found and app.store.read(read.outcome(job)) is None:
        raise app.store.read(why_missing(job))
    count = app.store.read(count_bad_items(job))
    if not found:
        say("It has no bad items." if before is None else "There are no more.")
        return Exit.OK
    print_bad_items(found, datetime.now(UTC))
    if tracebacks:
        _print_tracebacks(found)
    if count > len(found):
        last = found[-1]
        say(f"{len(found):,} of {count:,}; those after them with --after '{clean(last.loop)}:{_number(last)}'")
    return Exit.OK


def first_bad_items(app: Posthorse, job: str, limit: int) -> list[BadItem]:
    """Return the first bad items of a job. Raises JobNotFound."""
    return app.get_job(job).bad_items(limit=limit)


def print_bad_items(found: Sequence[BadItem], now: datetime) -> None:
    """Print a table of bad items."""
    rows = [
        (
            clean(bad.loop),
            f"{_number(bad, thousands=',')}{'' if bad.is_retryable else '*'}",
            clock_time(bad.at, now),
            _cut(bad.item if isinstance(bad.item, str) else item_as_json(bad).decode()),
            _cut(str(bad.error)),
        )
        for bad in found
    ]
    out_table(
        (
            Column("LOOP", least=6, rank=2),
            Column("NUMBER"),
            Column("AT", rank=3),
            Column("ITEM", least=8),
            Column("ERROR", least=10, rank=1),
        ),
        rows,
    )


def _print_tracebacks(found: Sequence[BadItem]) -> None:
    for bad in found:
        out()
        out(f"{clean(bad.loop)} {_number(bad, thousands=',')}")
        told = bad.error.traceback or str(bad.error)
        for line in clean(told, keep_lines=True).rstrip().split("\n"):
            out(f"  {line}")


def _cut(text: str) -> str:
    shown = clean(text[:MAX_ITEM])
    return shown if len(text) <= MAX_ITEM else f"{shown} …"


def _place(after: str) -> BadItem:
    """Parse `--after`. Raises click.UsageError."""
    loop, separator, told = after.rpartition(":")
    number, has_part, part = told.partition("@")
    if not separator or not _is_number(number) or (has_part and not _is_number(part)):
        raise click.UsageError(
            f"--after is {after!r}; write LOOP:NUMBER, or LOOP:NUMBER@PART, as the list shows them",
            click.get_current_context(),
        )
    nothing = JobError(type="", message="", traceback=None)
    moment = datetime.fromtimestamp(0, UTC)
    shard = int(part) if has_part else None
    return BadItem(loop=loop, number=int(number), item=None, is_retryable=False, error=nothing, at=moment, shard=shard)


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= 18


def _number(bad: BadItem, *, thousands: str = "") -> str:
    """Return the number of a bad item, with that of its part."""
    number = format(bad.number, thousands)
    return number if bad.shard is None else f"{number}@{bad.shard}"
