"""`posthorse enqueue`: jobs from words, files and pipes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from posthorse.app.call import Call
from posthorse.app.client import Posthorse
from posthorse.app.job import Job
from posthorse.app.kind import Kind
from posthorse.cli.exits import Exit
from posthorse.cli.options import as_using, job_options
from posthorse.cli.screen import out, out_json, say
from posthorse.cli.target import again, json_lines_option, open_application, target_options
from posthorse.cli.typed_arguments import Arguments, read_lines, read_words
from posthorse.cli.wait import TimeLimit, wait_for
from posthorse.errors import InvalidArgument, InvalidOption
from posthorse.rules.options.option import OptionPlace


@click.command()
@click.argument("kind")
@click.argument("arguments", metavar="[ARGUMENT…] [NAME=VALUE…]", nargs=-1)
@job_options(OptionPlace.ENQUEUE)
@click.option(
    "--from-file",
    metavar="FILE",
    help="Many jobs, all or none: JSON Lines with up to 10,000 arguments; - is stdin.",
)
@click.option("--wait", "waits", is_flag=True, help="Wait until the jobs are over, as `posthorse wait` does.")
@click.option("--timeout", metavar="SPAN", help='With --wait: give up after this and end with 124: "30s", "10m".')
@target_options
@json_lines_option
def enqueue(
    kind: str,
    arguments: Sequence[str],
    from_file: str | None,
    waits: bool,
    timeout: str | None,
    target: str | None,
    url: str | None,
    as_json: bool,
    **options: object,
) -> int:
    """Store a job, or many, and print the ids.

    When an id is printed, the job is durable. An argument is JSON if it is valid JSON and the parameter
    accepts that, and text otherwise; @file.json is the JSON in a file, - the JSON on stdin. Write -- before
    arguments that begin with a minus.

    \b
      posthorse enqueue welcome 7
      posthorse enqueue report week=2026-W47 'users=[1, 2, 3]' --delay 10m
      posthorse enqueue import_rows @rows.json --key import-2026-11
      posthorse enqueue welcome --from-file users.jsonl
      posthorse enqueue report --wait --timeout 10m
    """
    limit = TimeLimit(timeout)
    if timeout is not None and not waits:
        raise click.UsageError("--timeout is for --wait", click.get_current_context())
    app, has_key = open_application(target, url), options["key"] is not None
    registered = app.registry[kind]
    if from_file is None:
        calls = [read_words(registered, arguments)]
    elif arguments:
        raise click.UsageError("give arguments or --from-file, not both", click.get_current_context())
    elif has_key:
        raise InvalidOption("one --key for all jobs of a file would make them one job; enqueue them without")
    else:
        calls = read_lines(registered, from_file)
    chosen: Kind[..., object] = Kind(app, registered)
    chosen = chosen.using(**as_using(options))
    jobs = app.enqueue_many(_bound(chosen, calls, from_file))
    _report(jobs, app, as_json, has_key=has_key)
    if not waits:
        return Exit.OK
    ids = list(dict.fromkeys(job.id for job in jobs))
    return wait_for(app, ids, limit, target=target, first_only=False, as_json=as_json)


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
        say(f"Stored in {app.store.where}. Follow with: {again(f'posthorse watch {last}')}")
