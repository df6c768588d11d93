"""`posthorse worker`: the front of the supervisor."""

from __future__ import annotations

import platform
from collections.abc import Sequence

import click

from posthorse.app.client import Posthorse
from posthorse.app.loading import load_application
from posthorse.cli.screen import clean, out_json, say
from posthorse.cli.target import json_option, named_target, target_options
from posthorse.rules.job import checked_name
from posthorse.version import VERSION

KINDS_SHOWN = 12


@click.command()
@click.option(
    "-q",
    "--queue",
    "queues",
    metavar="NAME",
    multiple=True,
    help="Serve this queue; may be repeated. None: all.",
)
@click.option("--processes", metavar="N", type=click.IntRange(1, 1000), default=1, help="Runner processes; else 1.")
@click.option(
    "--concurrency",
    metavar="N",
    type=click.IntRange(1, 10_000),
    default=10,
    help="Jobs at once in each process; else 10.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    help="How much to tell on stderr; else info.",
)
@target_options
@json_option
def worker(
    queues: Sequence[str],
    processes: int,
    concurrency: int,
    log_level: str,
    target: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Run jobs until told to stop.

    SIGTERM or Ctrl-C lets running jobs end, or stop at their next slice, and then ends the worker; a second
    one ends it at once. Jobs that were stopped go on in the next worker, from their last committed slice.

    \b
      posthorse worker --app shop.jobs:app
      posthorse worker -q mail -q reports --processes 4 --concurrency 20
    """
    from posthorse.worker.supervisor import supervise

    for queue in queues:
        checked_name(queue, what="queue")
    named = named_target(target)
    app = load_application(named)
    if url is not None:
        app.use_url(url)
    if as_json:
        out_json(
            {
                "store": app.store.where,
                "queues": list(queues),
                "processes": processes,
                "concurrency": concurrency,
                "kinds": sorted(app.registry),
            }
        )
    else:
        _greet(app, queues, processes, concurrency)
    return supervise(named, url, queues=queues, processes=processes, concurrency=concurrency, log_level=log_level)


def _greet(app: Posthorse, queues: Sequence[str], processes: int, concurrency: int) -> None:
    kinds = sorted(app.registry)
    shown = ", ".join(kinds[:KINDS_SHOWN]) or "none: this worker will run nothing"
    more = f" and {len(kinds) - KINDS_SHOWN} more" if len(kinds) > KINDS_SHOWN else ""
    say(f"posthorse {VERSION}, Python {platform.python_version()}")
    say(f"  store   {clean(app.store.where)}")
    say(f"  queues  {clean(', '.join(queues)) or 'all'}")
    say(f"  jobs    {processes} × {concurrency} at once")
    say(f"  kinds   {clean(shown)}{more}")
