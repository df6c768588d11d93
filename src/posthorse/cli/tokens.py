"""`posthorse tokens`: who may use the HTTP service, and what they may do there."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Sequence
from datetime import timedelta

import click

from posthorse.app.client import Posthorse
from posthorse.app.tokens import Wanted, create_token, find_token, revoke_token, rotate_token
from posthorse.app.verbs import drive
from posthorse.cli.exits import Exit
from posthorse.cli.screen import clean, out, out_json, say
from posthorse.cli.tables import Column, out_table
from posthorse.cli.target import again, hand_down, is_empty, json_lines_of, json_option, open_store, target_options
from posthorse.cli.wording import short_span
from posthorse.clock import moment
from posthorse.rules.tokens import Role, ShownToken
from posthorse.store.operations.tokens import tokens as read_tokens
from posthorse.views.token import TokenView

STYLES = {"good": "green", "revoked": "bright_black", "expired": "bright_black"}


@click.group(invoke_without_command=True)
@target_options
@json_option
@click.pass_context
def tokens(context: click.Context, target: str | None, url: str | None, as_json: bool) -> int:
    """List who may use the HTTP service; make and end tokens.

    A program shows its token in the header `Authorization: Bearer …`. The store keeps no secrets, so a token is
    printed once, when it is made. USED is when it was used last, to the hour.

    \b
      posthorse tokens create shop --role submitter
      posthorse tokens rotate 0123456789ab --overlap 7d
      posthorse tokens revoke 0123456789ab
    """
    if context.invoked_subcommand is not None:
        hand_down(context, target=target, url=url, as_json=as_json)
        return Exit.OK
    app = open_store(target, url)
    views = [] if is_empty(app) else [TokenView.of(row) for row in app.store.read(read_tokens())]
    if as_json:
        out_json(views)
    elif views:
        _print_table(app, views)
    else:
        say(f"There are no tokens. Make one: {again('posthorse tokens create NAME --role submitter')}")
    return Exit.OK


@tokens.command()
@click.argument("name", metavar="NAME")
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    required=True,
    help=f"What its holder may do: {', '.join(Role)}.",
)
@click.option("--tenant", metavar="NAME", help="The only tenant whose jobs it is for; else all.")
@click.option("--sees-arguments", is_flag=True, help="Show arguments, results, logs and tracebacks of jobs, too.")
@click.option("--expires", metavar="SPAN", help='After which time it ends: "90d"; else never.')
@target_options
@json_option
def create(
    name: str,
    role: str,
    tenant: str | None,
    sees_arguments: bool,
    expires: str | None,
    target: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Make a token, and print it: this is the only time."""
    app = open_store(target, url)
    wanted = Wanted(name, role, _who(), tenant, sees_arguments, expires)
    _print_made(app, drive(create_token(app, wanted)), as_json=as_json)
    return Exit.OK


@tokens.command()
@click.argument("token_id", metavar="ID")
@click.option("--overlap", metavar="SPAN", default="24h", help="For how long the older one still counts; else 24h.")
@click.option("--expires", metavar="SPAN", help='After which time the new one ends: "90d"; else never.')
@target_options
@json_option
def rotate(token_id: str, overlap: str, expires: str | None, target: str | None, url: str | None, as_json: bool) -> int:
    """Make a token in place of another one, and print it.

    The older one still counts for a while, so that programs can change from one to the other.
    """
    app = open_store(target, url)
    made = drive(rotate_token(app, token_id, by=_who(), overlap=overlap, expires=expires))
    _print_made(app, made, as_json=as_json)
    return Exit.OK


@tokens.command()
@click.argument("token_ids", metavar="ID…", nargs=-1, required=True)
@target_options
@json_lines_of("token")
def revoke(token_ids: Sequence[str], target: str | None, url: str | None, as_json: bool) -> int:
    """End tokens now: no request with them is served any more."""
    app = open_store(target, url)
    for token_id in token_ids:
        drive(revoke_token(app, token_id))
        if as_json:
            out_json(TokenView.of(drive(find_token(app, token_id))))
        else:
            out(f"{token_id} revoked")
    return Exit.OK


def _print_made(app: Posthorse, made: ShownToken, *, as_json: bool) -> None:
    if as_json:
        out_json({"id": made.id, "token": str(made)})
        return
    out(str(made))
    say(f"Keep it: it is not stored in {clean(app.store.where)}, and cannot be shown again.")


def _who() -> str:
    """Return who makes a token, for the list."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an account without a name
        user = "?"
    return f"cli:{user}@{socket.gethostname()}"[:200]


def _print_table(app: Posthorse, views: Sequence[TokenView]) -> None:
    from rich.text import Text

    now = moment(app.store.clock.now())
    rows = [
        (
            view.id,
            clean(view.name),
            view.role.value + (" +arguments" if view.sees_arguments else ""),
            clean(view.tenant or "all"),
            Text(view.state, style=STYLES[view.state]),
            "never" if view.used_at is None else short_span(max(timedelta(0), now - view.used_at)),
            "never" if view.expires_at is None else f"{view.expires_at:%Y-%m-%d}",
        )
        for view in views
    ]
    out_table(
        (
            Column("ID"),
            Column("NAME", least=8),
            Column("ROLE"),
            Column("TENANT", least=6, rank=3),
            Column("STATE"),
            Column("USED", rank=2),
            Column("EXPIRES", rank=1),
        ),
        rows,
    )
