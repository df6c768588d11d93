"""`posthorse migrate`: create or migrate the schema."""

from __future__ import annotations

import click

from posthorse.cli.exits import Exit
from posthorse.cli.screen import clean, out, out_json, say
from posthorse.cli.target import json_option, open_store, target_options
from posthorse.store.migrate import SCHEMA_VERSION


@click.command()
@click.option("--check", "only_checks", is_flag=True, help="Change nothing: list the steps, and end with 5 if any.")
@target_options
@json_option
def migrate(only_checks: bool, target: str | None, url: str | None, as_json: bool) -> int:
    """Create or migrate the store's tables.

    Needs no application. Run it when you deploy, before the new workers start; it may be run any number of
    times, and while jobs run. A SQLite store also migrates itself when it is first used.

    \b
      posthorse migrate --url postgresql://jobs@db.internal/shop
      posthorse migrate --check
    """
    store = open_store(target, url).store
    if only_checks:
        missing = store.missing_steps()
        if as_json:
            out_json({"store": store.where, "missing": missing, "version": SCHEMA_VERSION})
        for step in () if as_json else missing:
            out(step)
        return Exit.UNREACHABLE if missing else Exit.OK
    steps = store.migrate(say)
    if as_json:
        out_json({"store": store.where, "steps": steps, "version": SCHEMA_VERSION})
    elif steps:
        say(f"{clean(store.where)} has version {SCHEMA_VERSION} of the schema now.")
    else:
        say(f"{clean(store.where)} has version {SCHEMA_VERSION} of the schema; nothing to do.")
    return Exit.OK
