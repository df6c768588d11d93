"""Open what a command works on: the application that is named or found, and that application's store."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import TypeVar, cast

import click

from posthorse.app.client import Posthorse
from posthorse.app.loading import find_target, load_application
from posthorse.app.store_origin import lead_to
from posthorse.cli.screen import say
from posthorse.errors import InvalidSettings, StoreUnreachable
from posthorse.store.address import is_there, shown
from posthorse.store.sqlite.side_files import raise_if_lost

F = TypeVar("F", bound=Callable[..., object])

FIRST_PATIENCE = 3.0

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def json_lines_of(what: str) -> Callable[[F], F]:
    """Return the option `--json` of a command that prints an object for each job, event or line."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print JSON Lines, one object for each {what}.")


json_lines_option = json_lines_of("job")


GIVEN = "posthorse.cli.target."
"""Where the root of all contexts keeps what was given, also when the command has ended with an error."""


def target_options(command: F) -> F:
    """Give a command `--app` and `--url`."""
    command = click.option(
        "--url",
        metavar="URL",
        callback=_remembered,
        help="The store, in place of the application's: sqlite:///jobs.db, postgresql://…",
    )(command)
    return click.option(
        "--app",
        "target",
        metavar="MODULE:APP",
        callback=_remembered,
        help="The application; otherwise POSTHORSE_APP or pyproject.toml.",
    )(command)


def _remembered(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        context.meta[f"{GIVEN}{option.name}"] = value
    return value


def hand_down(context: click.Context, **given: object) -> None:
    """Pass options that were written before the name of a subcommand to it, unless it has its own."""
    group = context.command
    if isinstance(group, click.Group):
        told = {name: value for name, value in given.items() if value}
        context.default_map = dict.fromkeys(group.commands, told)


def named_target(target: str | None) -> str:
    """Return the application that a command requires. Raises click.UsageError if none is named."""
    if target is not None:
        return target
    found = find_target()
    if found is None:
        raise click.UsageError(
            "no application was named; give --app module:app, set POSTHORSE_APP, or write "
            '[tool.posthorse] app = "module:app" into pyproject.toml',
            click.get_current_context(),
        )
    return found[0]


def open_application(target: str | None, url: str | None) -> Posthorse:
    """Return the application, with the code of its jobs. Raises InvalidSettings, click.UsageError."""
    return _kept(_application(target, url))


def open_store(target: str | None, url: str | None) -> Posthorse:
    """Return an application for the store, without jobs if only a store is named.

    Raises InvalidSettings, StoreUnreachable.
    """
    return _kept(find_store(target, url))


def find_store(target: str | None, url: str | None) -> Posthorse:
    """Return the same for a caller that closes it. Raises as `open_store`."""
    if target is not None:
        return _application(target, url)
    if url is not None:
        return Posthorse(url)
    found = find_target()
    if found is None:
        return Posthorse()
    target, place = found
    try:
        return load_application(target)
    except InvalidSettings as error:
        raise InvalidSettings(f"{error}\n  {place} names this application; --url URL does without it") from error


def is_empty(app: Posthorse) -> bool:
    """Return True for a SQLite store whose file does not exist yet, because a command that only reads must not create
    it.

    Raises StoreUnreachable if its folder does not exist, or the file was removed.
    """
    if not app.store.backend.capabilities.is_file:
        return False
    path = Path(app.store.where)
    if is_there(path):
        return False
    if not path.parent.is_dir():
        raise StoreUnreachable(f"there is no folder {path.parent}, and so no store {path}; check the address")
    raise_if_lost(path)
    return True


def raise_if_empty(app: Posthorse) -> None:
    """Refuse to look for one thing, or to wait for things, in a SQLite store that does not exist.

    Raises StoreUnreachable.
    """
    if not is_empty(app):
        return
    raise StoreUnreachable(
        no_file(app) + ("" if _given("target") or _given("url") else ", or name the application with --app module:app")
    )


def no_file(app: Posthorse) -> str:
    """Return the sentence for a store whose file does not exist."""
    return f"there is no file {Path(app.store.where)}: check the address"


def say_no_store(app: Posthorse) -> None:
    """Say that there is nothing to list, because there is no store yet."""
    say(f"There is no store at {app.store.where} yet; the first `posthorse enqueue` or `posthorse worker` makes it.")


def again(command: str) -> str:
    """Return a command for users to type next: for the application and the store that they named this time.

    A password in an address is not repeated. If the command names no application in particular, `module:app`, it gets
    the one that was given, or none if one is found without it.
    """
    target, url = _given("target"), _given("url")
    any_application = _ANY_APPLICATION.search(command)
    command = _ANY_APPLICATION.sub("", command)
    if target is not None and " --app " not in command:
        command += f" --app {quote(target)}"
    elif any_application is not None and find_target() is None:
        command += any_application[0]
    if url is not None:
        has_password = not url.startswith("sqlite:") and shown(url) != url
        command += " --url URL" if has_password else f" --url {quote(url)}"
    return command


def with_commands_again(message: str) -> str:
    """Return a message with its commands as users must type them: those in backquotes, and one after a last colon."""
    return _COMMAND.sub(lambda found: f"`{again(found[1])}`" if found[1] else again(found[2]), message)


_ANY_APPLICATION = re.compile(r" --app module:app\b", re.IGNORECASE)
_COMMAND = re.compile(r"`(posthorse [a-z][^`]*)`|(?<=: )(posthorse [a-z][^`]*)$")


def _given(name: str) -> str | None:
    """Return the value of `--app` (`target`) or `--url` of the command that runs, or ended with an error."""
    context = click.get_current_context(silent=True)
    return None if context is None else cast("str | None", context.meta.get(f"{GIVEN}{name}"))


def be_patient(app: Posthorse, seconds: float = 30.0) -> None:
    """Wait up to so long from now on for a server that goes away: it was there a moment ago, and may be restarting."""
    if app.store.backend.capabilities.may_be_away:
        app.store.backend.wait_at_most(seconds)


def _application(target: str | None, url: str | None) -> Posthorse:
    app = load_application(named_target(target))
    if url is not None:
        lead_to(app, url)
    return app


def _kept(app: Posthorse) -> Posthorse:
    """Close the store when the command ends, however it ends; wait only briefly for a server that never responded."""
    click.get_current_context().call_on_close(app.close)
    be_patient(app, FIRST_PATIENCE)
    return app
