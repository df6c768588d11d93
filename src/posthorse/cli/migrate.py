"""`posthorse migrate`: create or migrate the schema."""

from __future__ import annotations

import click

from posthorse.cli.exits import Exit
from posthorse.cli.screen import clean, out_json, say
from posthorse.cli.target import json_option, open_store, target_options
from posthorse.store.migrate import SCHEMA_VERSION


@click.command()
@target_options
@json_option
def migrate(target: str | None, url: str | None, as_json: bool) -> int:
    """Create or migrate the store's tables.

    Needs no application. Run it when you deploy, before the new workers start; it may be run any number of
    times, and while jobs run. A SQLite store also migrates itself when it is first used.

    \b
      posthorse migrate --url postgresql://jobs@db.internal/shop
    """
    app = open_store(target, url)
    steps = app.migrate()
    if as_json:
        out_json({"store": app.store.where, "steps": steps, "version": SCHEMA_VERSION})
    elif steps:
        say(f"{clean(app.store.where)} has version {SCHEMA_VERSION} of the schema now.")
    else:
        say(f"{clean(app.store.where)} has version {SCHEMA_VERSION} of the schema; nothing to do.")
    return Exit.OK
