"""Declare a stock: check it, enter it, and let a schedule refill it if it has one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from posthorse.app.call import Call, CallWithOutputs
from posthorse.app.job_function import JobFunction
from posthorse.app.kind import Kind
from posthorse.app.schedules import add_schedule
from posthorse.app.stock import Stock
from posthorse.app.stock_base import StockHandle
from posthorse.app.stock_keys import KeyedStock
from posthorse.app.verbs import adrive, look_up
from posthorse.errors import InvalidOption
from posthorse.rules.durations import Duration
from posthorse.rules.job import NewJob, checked_name
from posthorse.rules.registry import KindOptions, register
from posthorse.rules.stock import REFILL_KIND, StockDeclaration, make_declaration
from posthorse.rules.values.type_mismatch import short
from posthorse.store.operations.stock import stocks
from posthorse.worker.checkpoints.context import Context

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse


class RefillTimes(NamedTuple):
    """When a schedule refills a stock."""

    cron: str | None
    every: Duration | None
    tz: str


def declare_stock(
    app: Posthorse,
    make: object,
    *,
    name: str | None,
    level: int | None,
    refill_at: int | None,
    batch: int | None,
    key: str | None,
    ttl: Duration | None,
    stale: Duration,
    times: RefillTimes,
) -> StockHandle[Any]:
    """Declare a stock on an application. Raises InvalidOption."""
    kind, template = _checked_make(app, make, key)
    name = checked_name(template.lane.kind if name is None else name, what="the name of a stock")
    if name in app.registry.stocks:
        raise InvalidOption(f"there is a stock {name!r} already; give this one another name: app.stock(…, name=…)")
    declared = make_declaration(
        name, template, level=level, refill_at=refill_at, batch=batch, ttl=ttl, key=key, stale=stale
    )
    if times.cron is not None or times.every is not None:
        refilling = Kind[..., int](app, app.registry[_refill_kind(app)]).using(queue=template.lane.queue)
        add_schedule(app, refilling.bind(name), name=f"refill {name}", cron=times.cron, every=times.every, tz=times.tz)
    app.registry.stocks[name] = declared
    if kind is None:
        return Stock[Any](app, declared)
    return KeyedStock[Any, Any](app, declared, kind.bind)


def handle_of(app: Posthorse, declared: StockDeclaration) -> StockHandle[Any]:
    """Return the handle of a declared or stored stock."""
    if declared.key is None:
        return Stock[Any](app, declared)

    def bind(value: object) -> Call[Any]:
        arguments = msgspec.json.encode({declared.key: value}).decode()
        return Call(app, msgspec.structs.replace(declared.call, arguments=arguments))

    return KeyedStock[Any, Any](app, declared, bind)


def _checked_make(app: Posthorse, make: object, key: str | None) -> tuple[Kind[..., Any] | None, NewJob]:
    """Return the kind of a stock by key, and what is enqueued. Raises InvalidOption."""
    if key is None:
        if not isinstance(make, Call):
            raise InvalidOption(
                f"app.stock takes a call, not {short(make)}; bind the arguments: app.stock(ticket.bind(), level=9), or "
                "name the parameter that is the key: app.stock(price, key='symbol')"
            )
        call: Call[Any] = make  # pyright: ignore[reportUnknownVariableType]  # of any result
        if call.app is not app:
            raise InvalidOption(f"{call.template.lane.kind!r} belongs to another application")
        if type(call) is not Call or isinstance(call, CallWithOutputs):
            raise InvalidOption("the call of a stock has no callbacks and takes no outputs; give plain arguments")
        if call.connection is not None:
            raise InvalidOption("the call names a connection; a stock orders in transactions of its own")
        return None, call.template
    if not isinstance(make, Kind):
        raise InvalidOption(f"a stock by key takes a kind, not {short(make)}: app.stock(price, key={key!r})")
    kind = cast("Kind[..., Any]", make)
    if isinstance(make, JobFunction):
        kind = cast("JobFunction[..., Any, ..., Any]", make).kind_in(app)
    names = app.registry[kind.kind].signature.names
    if list(names) != [key]:
        raise InvalidOption(
            f"key is {short(key)}, and {kind.kind}() takes ({', '.join(names)}); a stock by key needs a function of "
            "that one parameter"
        )
    return kind, kind._ordered_by_key()  # pyright: ignore[reportPrivateUsage]  # of this package alone


def _refill_kind(app: Posthorse) -> str:
    """Register the kind whose jobs refill stocks, and return it."""
    if REFILL_KIND not in app.registry:

        async def refill(stock: str) -> int:
            """Refill a stock, for each tenant that has one."""
            return await _refill_all(app, stock)

        app.registry.add(register(refill, kind=REFILL_KIND, options=KindOptions(), context_type=Context))
    return REFILL_KIND


async def _refill_all(app: Posthorse, name: str) -> int:
    handle = handle_of(app, app.registry.stocks[name])
    refill = cast("Any", handle).arefill
    tenants = {row.tenant for row in await adrive(look_up(app, stocks())) if row.name == name} | {""}
    return sum([await refill(tenant=tenant or None) for tenant in sorted(tenants)])
