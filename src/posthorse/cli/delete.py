"""`posthorse delete`: remove single jobs at once, with all that belongs to them."""

from __future__ import annotations

from collections.abc import Sequence

import click

from posthorse.cli.exits import Exit, exit_of
from posthorse.cli.job_lookup import find_id
from posthorse.cli.screen import complain, out, out_json
from posthorse.cli.target import json_lines_option, open_store, target_options
from posthorse.errors import InvalidTransition, JobNotFound, UsageError


@click.command()
@click.argument("job_ids", metavar="ID…", nargs=-1, required=True)
@target_options
@json_lines_option
def delete(job_ids: Sequence[str], target: str | None, url: str | None, as_json: bool) -> int:
    """Remove jobs that are over from the store, now and for good.

    Their arguments, results, errors, events, bad items and keys leave with them. This is for data that must go at once;
    old jobs leave by themselves (posthorse prune --dry-run shows when). A job that is not over must be cancelled first.

    \b
      posthorse delete 01936f5e-7c1a-7d2b-8e3f-0123456789ab
    """
    app = open_store(target, url)
    code = Exit.OK
    for typed in job_ids:
        try:
            job = find_id(app, typed)
            app.get_job(job).delete()
        except (JobNotFound, InvalidTransition, UsageError, click.UsageError) as error:
            message = error.format_message() if isinstance(error, click.UsageError) else str(error)
            code = code or (Exit.USAGE if isinstance(error, click.UsageError) else exit_of(error))
            complain(message)
            if as_json:
                out_json({"id": typed, "deleted": False, "error": message})
            continue
        if as_json:
            out_json({"id": job, "deleted": True, "error": None})
        else:
            out(f"deleted  {job}")
    return code
