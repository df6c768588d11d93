"""`posthorse enqueue`: jobs from words, files and pipes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime

import click
import msgspec

from posthorse.app.client import Posthorse
from posthorse.app.job import Job
from posthorse.app.kind import Call, Kind
from posthorse.cli.arguments import Arguments, read_lines, read_words
from posthorse.cli.exits import Exit
from posthorse.cli.options import job_options
from posthorse.cli.screen import out, out_json, say
from posthorse.cli.target import json_lines_option, open_application, target_options
from posthorse.errors import InvalidArgument, InvalidOption
from posthorse.rules.values.type_mismatch import short


@click.command()
@click.argument("kind")
@click.argument("arguments", metavar="[ARGUMENT…] [NAME=VALUE…]", nargs=-1)
@job_options
@click.option("--delay", metavar="SPAN", help='Start no sooner than after this: "90s", "10m", "1h30m", "3d".')
@click.option("--run-at", metavar="MOMENT", help="Start no sooner than this: 2026-11-30T08:00:00+01:00.")
@click.option("--key", metavar="TEXT", help="The same key of a kind gives the same job, however often it is sent.")
@click.option(
    "--from-file",
    metavar="FILE",
    help="Many jobs, all or none: JSON Lines with up to 10,000 arguments; - is stdin.",
)
@target_options
@json_lines_option
def enqueue(
    kind: str,
    arguments: Sequence[str],
    queue: str | None,
    priority: int | None,
    delay: str | None,
    run_at: str | None,
    key: str | None,
    tags: Sequence[str],
    tenant: str | None,
    max_attempts: int | None,
    from_file: str | None,
    target: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Store a job, or many, and print the ids.

    When an id is printed the job is durable. An argument is JSON where it reads as JSON and the parameter
    takes that, and text otherwise; @file.json is the JSON in a file, - the JSON on stdin. Write -- before
    arguments that begin with a minus.

    \b
      posthorse enqueue welcome 7
      posthorse enqueue report week=2026-W47 'users=[1, 2, 3]' --delay 10m
      posthorse enqueue import_rows @rows.json --key import-2026-11
      posthorse enqueue welcome --from-file users.jsonl
    """
    app = open_application(target, url)
    registered = app.registry[kind]
    if from_file is None:
        calls = [read_words(registered, arguments)]
    elif arguments:
        raise click.UsageError("give arguments or --from-file, not both", click.get_current_context())
    elif key is not None:
        raise InvalidOption("one --key for all jobs of a file would make them one job; enqueue them without")
    else:
        calls = read_lines(registered, from_file)
    chosen: Kind[..., object] = Kind(app, registered)
    chosen = chosen.using(
        queue=queue,
        priority=priority,
        delay=delay,
        run_at=None if run_at is None else _moment(run_at),
        key=key,
        tags=tags or None,
        tenant=tenant,
        max_attempts=max_attempts,
    )
    _report(app.enqueue_many(_bound(chosen, calls, from_file)), app, as_json, has_key=key is not None)
    return Exit.OK


def _bound(kind: Kind[..., object], calls: Sequence[Arguments], file: str | None) -> list[Call[object]]:
    bound: list[Call[object]] = []
    for number, call in enumerate(calls, 1):
        try:
            bound.append(kind.bind(*call.by_position, **call.by_name))
        except InvalidArgument as error:
            if file is None:
                raise
            raise InvalidArgument(f"{'stdin' if file == '-' else file}, job {number}: {error}") from None
    return bound


def _report(jobs: Sequence[Job[object]], app: Posthorse, as_json: bool, *, has_key: bool) -> None:
    for job in jobs:
        if as_json:
            out_json({"id": job.id, "created": job.created})
        else:
            out(job.id)
    if as_json:
        return
    if len(jobs) == 1 and not jobs[0].created:
        why = "This key was used before with the same arguments" if has_key else "Such a job is there already"
        say(f"{why}: that is the earlier job.")
    elif sys.stderr is not None and sys.stderr.isatty():
        last = jobs[-1].id
        say(f"Stored in {app.store.where}. Follow with: posthorse watch {last}")


def _moment(text: str) -> datetime:
    try:
        moment = msgspec.convert(text, datetime, strict=True)
    except msgspec.ValidationError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidOption(
            f"--run-at is {short(text)}; write a moment with its zone, such as 2026-11-30T08:00:00+01:00"
        )
    return moment
