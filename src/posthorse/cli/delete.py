"""`posthorse delete`: remove single jobs at once, with all that belongs to them."""

from __future__ import annotations

from collections.abc import Sequence

import click

from posthorse.cli.job_lookup import for_each_job
from posthorse.cli.screen import out, out_json
from posthorse.cli.target import json_lines_option, open_store, target_options


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

    def remove(job: str) -> None:
        app.get_job(job).delete()
        if as_json:
            out_json({"id": job, "deleted": True, "error": None})
        else:
            out(f"deleted  {job}")

    return for_each_job(app, job_ids, remove, failed={"deleted": False} if as_json else None)
