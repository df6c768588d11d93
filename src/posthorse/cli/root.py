"""The root of the command line: which commands there are, and how each of them ends.

A command's module is imported when it is needed, so that `--help` and a misspelt command respond at once.
"""

from __future__ import annotations

import difflib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from posthorse.cli.exits import Exit, StartFailed, exit_of
from posthorse.cli.screen import complain, say
from posthorse.errors import PosthorseError
from posthorse.version import VERSION

COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Work": {
        "worker": ("worker", "Run jobs until stopped."),
        "serve": ("serve", "Serve the HTTP API until stopped."),
        "run": ("run", "Run one job here and now, durably, and print its result."),
        "enqueue": ("enqueue", "Store a job, or many, and print the ids."),
    },
    "Look": {
        "jobs": ("jobs", "List jobs, newest first."),
        "show": ("show", "Show everything about one job."),
        "why": ("why", "Say why a job does not run, what to do, and when it will start."),
        "logs": ("logs", "Show what a job logged."),
        "bad-items": ("bad_items", "List the bad items that a job tolerated."),
        "watch": ("watch", "Follow jobs with live bars."),
        "events": ("events", "Print what happened to jobs, queues, schedules and workers, and follow it."),
        "wait": ("wait", "Wait until jobs are over."),
        "workers": ("workers", "List workers and their runners."),
        "schedules": ("schedules", "List schedules, or steer one."),
        "stock": ("stock", "List stocks of results that are made ahead, or steer one."),
        "report": ("report", "Say what happened in the last days, as a table, a file or a page."),
        "tokens": ("tokens", "List who may use the HTTP service; make and end tokens."),
        "queues": ("queues", "List queues: what waits in them, which workers serve them, and their settings."),
    },
    "Steer": {
        "pause": ("steer", "Stop jobs so that they can continue later."),
        "resume": ("steer", "Resume paused jobs."),
        "cancel": ("steer", "End jobs for good."),
        "retry": ("steer", "Start failed or cancelled jobs again."),
        "discard": ("steer", "Remove dead letters from the list."),
        "parts": ("parts", "Change how many parts of a job run at once."),
        "send-event": ("send_event", "Send an event to the jobs that wait for it, now or later."),
        "delete": ("delete", "Remove jobs that are over from the store, now and for good."),
    },
    "Look after": {
        "migrate": ("migrate", "Create or migrate the store's tables."),
        "prune": ("prune", "Remove old jobs now, as retention says, or show which."),
        "health": ("health", "Probe the store and one worker, by exit code."),
        "doctor": ("doctor", "Check the store and the workers, and say what to do."),
        "bench": ("bench", "Measure how fast jobs are enqueued, worked and picked up."),
    },
}
"""By section: the name of a command, the module that holds a click command of that name, and its help line."""

OF_COMMANDS = frozenset({"--app", "--json", "--url"})
"""Options that every command has, but not their group."""

MAX_MISUSE = 1_000
"""Maximum characters of an error about options and arguments."""

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Root(click.Group):
    """The group of all commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return names in the order of the help page."""
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        for section in COMMANDS.values():
            if cmd_name in section:
                module = importlib.import_module(f"posthorse.cli.{section[cmd_name][0]}")
                found: click.Command = getattr(module, cmd_name.replace("-", "_"))
                found.context_settings = {**CONTEXT, **found.context_settings}
                return found
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first argument names. Raises click.UsageError, which names the nearest."""
        name = args[0]
        command = self.get_command(ctx, name)
        if command is not None:
            return name, command, args[1:]
        near = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise click.UsageError(f"there is no command {name!r}{hint}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands in sections, without importing any."""
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, summary) for name, (_, summary) in section.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,  # noqa: ANN401 - the signature of click
    ) -> NoReturn:
        """Run a command and end the process with an exit code; show a traceback only on request."""
        words = list(sys.argv[1:] if args is None else args) or ["--help"]
        sys.exit(self._ended(words, prog_name or "posthorse", complete_var, extra))

    def _ended(self, words: list[str], prog_name: str, complete_var: str | None, extra: dict[str, Any]) -> int:
        try:
            _check_encoding(words)
            code: object = super().main(words, prog_name, complete_var, standalone_mode=False, **extra)
            return int(code) if isinstance(code, int) else Exit.OK
        except click.ClickException as error:
            return _misused(error)
        except (click.Abort, KeyboardInterrupt):
            return Exit.INTERRUPTED
        except SystemExit:
            if complete_var or "_POSTHORSE_COMPLETE" in os.environ:
                raise
            return Exit.BROKEN_PIPE  # the only code for which click ends the process itself
        except Exception as error:
            if words[0] == "--debug":
                raise
            return _failed(error)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command and flush its output; tell its errors while it is known what the command was given."""
        try:
            code: object = super().invoke(ctx)
        except PosthorseError as error:
            if ctx.params["debug"]:
                raise
            code = _failed(error)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code


@click.group(cls=Root, context_settings=CONTEXT)
@click.version_option(VERSION, prog_name="posthorse", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, hidden=True, help="Show the traceback of an error.")
def root(debug: bool) -> None:
    """Jobs that run long, in slices, and never lose their place.

    The application is named by --app module:app, by POSTHORSE_APP, or in pyproject.toml:

    \b
      [tool.posthorse]
      app = "shop.jobs:app"

    Most commands need only its store: --url, POSTHORSE_URL, posthorse.toml, or sqlite:///posthorse.db here.

    Data goes to stdout, messages go to stderr, and --json prints everything as data. Exit codes: 0 done,
    1 a job failed, 2 wrong usage, 3 not found, 4 the job's state or key forbids it, 5 the store cannot be
    used, 6 a job was cancelled, 7 jobs wait that no worker takes, 124 timed out, 130 interrupted.
    """


def main() -> NoReturn:
    """Run the `posthorse` command."""
    _fill_standard_descriptors()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character must not make it fail
    root.main(prog_name="posthorse")


def _fill_standard_descriptors() -> None:
    """Open descriptors 0, 1 and 2 if they are closed: the next opened file would take their place, and their output."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _check_encoding(words: Sequence[str]) -> None:
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise click.UsageError(f"the argument {word!a} is not valid UTF-8") from None


def _misused(error: click.ClickException) -> int:
    message = error.format_message().replace("is not a valid integer range", "is not a whole number")
    context = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, click.NoSuchOption) and context is not None:
        message += _hint(error, context)
    complain(_cut(message[:1].lower() + message[1:]))
    if context is not None:
        say(f"Try `{context.command_path} --help`.")
    return Exit.USAGE


def _hint(error: click.NoSuchOption, context: click.Context) -> str:
    """Return the intended option, if it is not the nearest name."""
    if context.parent is None and error.option_name in OF_COMMANDS:
        return " Write it behind the name of the command."
    takes_any = any(isinstance(each, click.Argument) and each.name == "arguments" for each in context.command.params)
    if takes_any and not error.possibilities:
        return " Write -- before arguments that begin with a minus."
    return ""


def _cut(message: str) -> str:
    """Drop the middle of a very long message, because click repeats what was typed."""
    return message if len(message) <= MAX_MISUSE else f"{message[: MAX_MISUSE // 2]} … {message[-100:]}"


def _failed(error: Exception) -> int:
    code = exit_of(error)
    if code is Exit.DEFECT and not isinstance(error, OSError | StartFailed):
        complain(f"Posthorse itself failed: {type(error).__name__}: {error}")
        say("This is a defect of Posthorse; `posthorse --debug …` shows where it happened.")
    else:
        from posthorse.cli.target import (
            with_commands_again,
        )  # not above: that takes long, and `--help` needs none of it

        complain((isinstance(error, OSError) and error.strerror) or with_commands_again(str(error)))
    return code
