"""Open what a command works on: the application that is named or found, and that application's store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from posthorse.app.client import Posthorse
from posthorse.app.loading import find_target, load_application
from posthorse.app.store_origin import lead_to
from posthorse.errors import InvalidSettings, StoreUnreachable
from posthorse.store.address import is_there
from posthorse.store.sqlite.side_files import raise_if_lost

F = TypeVar("F", bound=Callable[..., object])

FIRST_PATIENCE = 3.0

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
json_lines_option = click.option("--json", "as_json", is_flag=True, help="Print JSON Lines, one object for each job.")


def target_options(command: F) -> F:
    """Give a command `--app` and `--url`."""
    command = click.option(
        "--url",
        metavar="URL",
        help="The store, in place of the application's: sqlite:///jobs.db, postgresql://…",
    )(command)
    return click.option(
        "--app",
        "target",
        metavar="MODULE:APP",
        help="The application; otherwise POSTHORSE_APP or pyproject.toml.",
    )(command)


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
