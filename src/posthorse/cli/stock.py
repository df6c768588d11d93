"""`posthorse stock`: list stocks, say why one is empty, and steer one."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

import click

from posthorse.app.client import Posthorse
from posthorse.app.stock import Stock
from posthorse.app.stock_base import StockHandle
from posthorse.app.stock_declaring import handle_of
from posthorse.app.verbs import commit, drive, look_up
from posthorse.cli.exits import Exit
from posthorse.cli.screen import clean, out, out_json, say
from posthorse.cli.tables import Column, out_table
from posthorse.cli.target import hand_down, is_empty, json_option, open_store, target_options
from posthorse.cli.wording import span
from posthorse.errors import InvalidOption, InvalidTransition, StockNotFound
from posthorse.rules.stock import StockDeclaration, StockStatus, decode_stock
from posthorse.store.operations.stock import forget_stock, stocks
from posthorse.views.stock import StockView

_name = click.argument("name", metavar="NAME")
_tenant = click.option("--tenant", metavar="TENANT", help="The shelf of this tenant.")


@click.group(invoke_without_command=True)
@target_options
@json_option
@click.pass_context
def stock(context: click.Context, target: str | None, url: str | None, as_json: bool) -> int:
    """List stocks of results that are made ahead, or steer one.

    MADE are results that can be had now, of LEVEL; ORDERED are being made; HITS is the share of the callers of the
    last day who got one at once, and WASTE the share of the results that left without a caller.

    \b
      posthorse stock why tickets
      posthorse stock level tickets 500
      posthorse stock refill tickets
      posthorse stock empty tickets
      posthorse stock forget old-tickets
    """
    if context.invoked_subcommand is not None:
        hand_down(context, target=target, url=url, as_json=as_json)
        return Exit.OK
    app = open_store(target, url)
    if is_empty(app):
        statuses: list[StockStatus] = []
    else:
        shelves = _shelves(app)
        statuses = [handle_of(app, declared).status(tenant=tenant or None) for declared, tenant in shelves]
    if as_json:
        out_json([StockView.of(status) for status in statuses])
    elif statuses:
        _print_table(statuses)
    else:
        say("There are no stocks. Declare one: tickets = app.stock(make_ticket.bind(), level=200)")
    return Exit.OK


@stock.command()
@_name
@_tenant
@target_options
@json_option
def why(name: str, tenant: str | None, target: str | None, url: str | None, as_json: bool) -> int:
    """Say why a stock has nothing, or less than it should."""
    reason = _found(open_store(target, url), name).why(tenant=tenant)
    if as_json:
        out_json({"name": name, "tenant": tenant, "why": reason})
    else:
        out(clean(reason))
    return Exit.OK


@stock.command()
@_name
@click.argument("level", type=int, required=False)
@click.option("--reset", is_flag=True, help="Return to the level of the code.")
@_tenant
@target_options
@json_option
def level(
    name: str, level: int | None, reset: bool, tenant: str | None, target: str | None, url: str | None, as_json: bool
) -> int:
    """Show the level of a shelf, or change it, at once and beyond deploys. With 0 nothing is ordered any more."""
    shelf = _shelf(open_store(target, url), name)
    if reset and level is not None:
        raise click.UsageError("give a level or --reset, not both")
    if reset or level is not None:
        shelf.set_level(level, tenant=tenant)
    return _told(shelf, tenant, as_json, lambda status: f"{status.level}")


@stock.command()
@_name
@_tenant
@target_options
@json_option
def refill(name: str, tenant: str | None, target: str | None, url: str | None, as_json: bool) -> int:
    """Order what a shelf lacks to its level now; of a stock by key, what was read since it was made."""
    handle: Any = _found(open_store(target, url), name)
    ordered = handle.refill(tenant=tenant)
    return _told(handle, tenant, as_json, lambda _: f"ordered {ordered:,}")


@stock.command()
@_name
@_tenant
@target_options
@json_option
def empty(name: str, tenant: str | None, target: str | None, url: str | None, as_json: bool) -> int:
    """Throw away the results that a stock has. What is ordered still comes, and workers refill a shelf."""
    handle: Any = _found(open_store(target, url), name)
    thrown = handle.empty(tenant=tenant)
    return _told(handle, tenant, as_json, lambda _: f"threw away {thrown:,}")


@stock.command()
@_name
@target_options
@json_option
def forget(name: str, target: str | None, url: str | None, as_json: bool) -> int:
    """Remove a stock that left the code, with the results that it has, of all tenants.

    Until then its results stay, and so do their jobs. It is refused while a living worker declares the stock.
    """
    app = open_store(target, url)
    handle: Any = _found(app, name)
    if handle.status().is_attended:
        raise InvalidTransition(
            f"a worker declares stock {name!r}, or did so in the last three minutes; remove it from the code and "
            "restart the workers, then forget it. To order nothing now: set its level to 0"
        )
    thrown = 0
    for tenant in sorted({tenant for declared, tenant in _shelves(app) if declared.name == name}):
        thrown += handle.empty(tenant=tenant or None)
        drive(commit(app, forget_stock(name, tenant)))
    if as_json:
        out_json({"name": name, "thrown_away": thrown})
    else:
        out(f"{clean(name)}: forgotten, threw away {thrown:,}")
    return Exit.OK


def _told(handle: StockHandle[Any], tenant: str | None, as_json: bool, word: Callable[[StockStatus], str]) -> int:
    """Print what a stock is like after it was steered."""
    status = handle.status(tenant=tenant)
    if as_json:
        out_json(StockView.of(status))
    else:
        out(f"{clean(status.name)}: {word(status)}")
    return Exit.OK


def _shelves(app: Posthorse) -> list[tuple[StockDeclaration, str]]:
    """Return the stocks of the store with their tenants, and those of this code that no worker has stored yet."""
    found = {(row.name, row.tenant): decode_stock(row.declared) for row in drive(look_up(app, stocks()))}
    known = {(name, ""): declared for name, declared in app.registry.stocks.items()} | found
    return [(declared, tenant) for (_, tenant), declared in sorted(known.items(), key=lambda one: one[0])]


def _found(app: Posthorse, name: str) -> StockHandle[Any]:
    """Return a stock by its name. Raises StockNotFound, which names the nearest."""
    known = {declared.name: declared for declared, _ in _shelves(app)}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known are: {', '.join(sorted(known)) or 'none'}"
        raise StockNotFound(f"there is no stock {name!r}{hint}")
    return handle_of(app, known[name])


def _shelf(app: Posthorse, name: str) -> Stock[Any]:
    found = _found(app, name)
    if not isinstance(found, Stock):
        raise InvalidOption(f"stock {name!r} keeps results by key, so it has no level")
    return found


def _print_table(statuses: Sequence[StockStatus]) -> None:
    rows = [
        (
            clean(status.name),
            clean(status.tenant or ""),
            f"{status.made:,}",
            "" if status.key is not None else f"{status.level:,}",
            f"{status.ordered:,}",
            "" if status.oldest is None else span(status.oldest),
            _share(status.hit_rate),
            _share(status.waste),
            clean(status.kind),
        )
        for status in statuses
    ]
    out_table(
        (
            Column("NAME", least=8),
            Column("TENANT", rank=4),
            Column("MADE", is_number=True),
            Column("LEVEL", is_number=True),
            Column("ORDERED", is_number=True),
            Column("OLDEST", rank=3, is_number=True),
            Column("HITS", rank=1, is_number=True),
            Column("WASTE", rank=2, is_number=True),
            Column("KIND", least=6, rank=5),
        ),
        rows,
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"
