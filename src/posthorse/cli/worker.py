"""`posthorse worker`: start the supervisor."""

from __future__ import annotations

import platform
from collections.abc import Sequence

import click

from posthorse.app.client import Posthorse
from posthorse.app.loading import load_application
from posthorse.app.store_origin import lead_to
from posthorse.cli.options import size_options
from posthorse.cli.screen import clean, out_json, say
from posthorse.cli.target import json_option, named_target, target_options
from posthorse.rules.job import checked_name
from posthorse.rules.labels import as_labels
from posthorse.version import VERSION
from posthorse.worker.base.log_formats import LogFormat

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
@click.option(
    "--label",
    "labels",
    metavar="NAME=VALUE",
    multiple=True,
    help="A label of this worker; may be repeated. A queue that asks for labels is served by workers that have them.",
)
@size_options
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    help="How much to tell on stderr; else info.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json", "logfmt"]),
    default="text",
    help="How to write it: for people, with colours on a terminal, or for programs; else text.",
)
@click.option(
    "--listen",
    "listen_at",
    metavar="HOST:PORT",
    help="Answer /metrics, /livez and /readyz here; a port alone is for this machine. Else nothing listens.",
)
@target_options
@json_option
def worker(
    queues: Sequence[str],
    labels: Sequence[str],
    processes: int,
    concurrency: int,
    log_level: str,
    log_format: LogFormat,
    listen_at: str | None,
    target: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Run jobs until stopped.

    SIGTERM or Ctrl-C lets running jobs end, or stop at their next slice, and then ends the worker; a second
    one ends it at once. Stopped jobs continue in the next worker, from their last committed slice.

    \b
      posthorse worker --app shop.jobs:app
      posthorse worker -q mail -q reports --processes 4 --concurrency 20
    """
    from posthorse.processes.http_server import checked_address
    from posthorse.processes.supervisor import supervise
    from posthorse.worker.base.launch import current_folder

    folder = current_folder()  # before the application may change it
    for queue in queues:
        checked_name(queue, what="queue")
    as_labels(list(labels))
    if listen_at is not None:
        checked_address(listen_at)
    named = named_target(target)
    app = load_application(named)
    if url is not None:
        lead_to(app, url)
    if as_json:
        out_json(
            {
                "store": app.store.where,
                "queues": list(queues),
                "labels": as_labels(list(labels)),
                "processes": processes,
                "concurrency": concurrency,
                "kinds": sorted(app.registry),
            }
        )
    elif log_format == "text":  # in other formats it is a record of the log
        _greet(app, queues, labels, processes, concurrency)
    return supervise(
        named,
        url,
        queues=queues,
        labels=labels,
        processes=processes,
        concurrency=concurrency,
        log_level=log_level,
        log_format=log_format,
        folder=folder,
        listen_at=listen_at,
    )


def _greet(app: Posthorse, queues: Sequence[str], labels: Sequence[str], processes: int, concurrency: int) -> None:
    kinds = sorted(app.registry)
    shown = ", ".join(kinds[:KINDS_SHOWN]) or "none: this worker will run nothing"
    more = f" and {len(kinds) - KINDS_SHOWN} more" if len(kinds) > KINDS_SHOWN else ""
    say(f"posthorse {VERSION}, Python {platform.python_version()}")
    say(f"  store   {clean(app.store.where)}")
    say(f"  queues  {clean(', '.join(queues)) or 'all'}")
    if labels:
        say(f"  labels  {clean(', '.join(labels))}")
    say(f"  jobs    {processes} × {concurrency} at once")
    say(f"  kinds   {clean(shown)}{more}")
