"""Options that several commands have: of a job to be stored, and of a worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from posthorse.rules.job import checked_name

F = TypeVar("F", bound=Callable[..., object])


def job_options(command: F) -> F:
    """Gives a command the options of a new job that mean what they mean in `using()`."""
    for option in (
        click.option("--max-attempts", metavar="N", type=int, help="How many errors end the job."),
        click.option("--tenant", metavar="NAME", help="Whose job it is."),
        click.option("--tag", "tags", metavar="NAME", multiple=True, help="A tag; may be repeated."),
        click.option("--priority", metavar="N", type=int, help="From -100 to 100, higher first."),
        click.option("-q", "--queue", metavar="NAME", help="The queue, in place of the kind's own."),
    ):
        command = option(command)
    return command


def size_options(command: F) -> F:
    """Gives a command the options that say how much a worker does at once."""
    for option in (
        click.option(
            "--concurrency",
            metavar="N",
            type=click.IntRange(1, 10_000),
            default=10,
            help="Jobs at once in each process; else 10.",
        ),
        click.option(
            "--processes", metavar="N", type=click.IntRange(1, 1000), default=1, help="Runner processes; else 1."
        ),
    ):
        command = option(command)
    return command


def check_names(**names: str | None) -> None:
    """Refuse what can be no name, such as an empty variable of a script, where nothing would be found by it.

    Raises InvalidOption.
    """
    for what, name in names.items():
        if name is not None:
            checked_name(name, what=what)
