"""`posthorse parts`: how many parts of a job that is cut run at once, changed while it runs."""

from __future__ import annotations

import click

from posthorse.cli.exits import Exit
from posthorse.cli.job_lookup import find_id
from posthorse.cli.screen import out, out_json
from posthorse.cli.target import json_option, open_store, target_options
from posthorse.rules.ranges import MAX_PARTS

NO_LIMIT = "all"


@click.command()
@click.argument("job_id", metavar="ID")
@click.argument("at_once", metavar="N|all")
@target_options
@json_option
def parts(job_id: str, at_once: str, target: str | None, url: str | None, as_json: bool) -> int:
    """Change how many parts of a job run at once.

    For a job with shards=, also while it runs; `all` lets all of them run. Parts that have to leave do so at their next
    checkpoint, and go on from there when there is room.

    \b
      posthorse parts 0123abcd 4
    """
    width = _width(at_once)
    app = open_store(target, url)
    job = find_id(app, job_id)
    app.get_job(job).parts(width)
    if as_json:
        out_json({"id": job, "parts": width})
    else:
        out(f"{at_once} at once  {job}")
    return Exit.OK


def _width(typed: str) -> int | None:
    """Parse the number of parts. Raises click.UsageError."""
    if typed == NO_LIMIT:
        return None
    if not typed.isdecimal() or len(typed) > 4 or not 1 <= int(typed) <= MAX_PARTS:
        raise click.UsageError(
            f"parts is {typed!r}; write a whole number from 1 to {MAX_PARTS:,}, or {NO_LIMIT}",
            click.get_current_context(),
        )
    return int(typed)
