"""Django querysets as sources: page by page, after the key of the last object. Django is imported only if used."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, TypeVar, cast

from posthorse.errors import InvalidOption, UsageError
from posthorse.rules.cursor import Cursor, cursor_of_key, key_of_cursor
from posthorse.rules.ranges import Cut, Range, cut_at
from posthorse.worker.checkpoints.sources.base import Chunk

T_co = TypeVar("T_co", covariant=True)


class QuerySetOf(Protocol[T_co]):
    """The part of a Django queryset that tells type checkers what its items are."""

    def first(self) -> T_co | None: ...
    def values_list(self, *fields: str) -> object: ...


def is_queryset(value: object) -> bool:
    """Return whether this is a Django queryset; if Django was not imported, nothing is."""
    module = sys.modules.get("django.db.models.query")
    return module is not None and isinstance(value, module.QuerySet)


@dataclass(frozen=True, slots=True)
class OrderField:
    """One field of an order, and its direction."""

    name: str
    falls: bool


class QuerySetSource:
    """The objects of a queryset, in its own order, made unique by the primary key."""

    def __init__(self, queryset: Any) -> None:  # noqa: ANN401 - Django's
        _check(queryset)
        self._steps = _order_of(queryset)
        signs = [("-" if step.falls else "") + step.name for step in self._steps]
        self._queryset = queryset.order_by(*signs)
        self._range: Range | None = None
        self._is_fresh = False
        self._queryset.query.standard_ordering = True  # the fields from _order_of already take reverse() into account

    def count(self) -> int | None:
        if self._range is not None:
            return self._range.total
        self._refresh_connections()
        counted: int = self._queryset.count()
        return counted

    def read(self, cursor: Cursor, limit: int) -> Chunk[object]:
        self._refresh_connections()
        within = self._range or Range()
        wanted = self._between(within.after if cursor is None else cursor, within.upto)
        found = list(wanted[: limit + 1])
        if not found:
            return Chunk((), cursor, is_last=True)
        items = found[:limit]
        return Chunk(items, self.position(items[-1]), is_last=len(found) <= limit)

    def position(self, item: object) -> Cursor:
        """Return the position of an object in the order."""
        key = tuple(getattr(item, step.name) for step in self._steps)
        return cursor_of_key(key[0] if len(key) == 1 else key)

    def key_of(self, item: object) -> Cursor:
        return cursor_of_key(getattr(item, "pk", None))

    def find(self, keys: Sequence[Cursor]) -> Sequence[object]:
        self._refresh_connections()
        return list(self._queryset.filter(pk__in=[key_of_cursor(key) for key in keys]))

    def split(self, parts: int, after: Cursor, upto: Cursor) -> Sequence[Range]:
        """Cut a range into even ones: count it, then number the keys in one pass and fetch those at the cuts."""
        self._refresh_connections()
        wanted = self._between(after, upto)
        total = wanted.count()
        cuts = self._cuts(wanted, min(parts, total), total) if total > 1 else ()
        return cut_at(Range(after, upto, total), cuts)

    def within(self, range: Range) -> QuerySetSource:
        part = copy(self)
        part._range, part._is_fresh = range, False
        return part

    async def beside_loop(self, function: Callable[..., object], *arguments: object) -> object:
        """Call the function in the thread that Django keeps for this, because a connection belongs to one thread."""
        beside: Callable[..., Awaitable[object]] = import_module("asgiref.sync").sync_to_async(function)
        return await beside(*arguments)

    def close(self) -> None:
        """Do nothing: it holds nothing open."""

    def _refresh_connections(self) -> None:
        """Let Django reopen a connection that was closed since this thread's last job, as before a request."""
        if not self._is_fresh:
            _django("django.db").close_old_connections()
            self._is_fresh = True

    def _cuts(self, wanted: Any, parts: int, total: int) -> Iterator[Cut]:  # noqa: ANN401 - Django's
        """Yield the keys at which so many objects are cut into even parts."""
        models, functions = _django("django.db.models"), _django("django.db.models.functions")
        order = [models.F(step.name).desc() if step.falls else models.F(step.name).asc() for step in self._steps]
        number = models.Window(functions.RowNumber(), order_by=order)
        # The number is the first one in its part: `number * parts / total` has just passed a whole number.
        is_cut = {"posthorse_number__lt": total, "posthorse_rest__lt": parts}
        numbered = _alone(wanted).annotate(posthorse_number=number)
        cut = numbered.annotate(posthorse_rest=models.F("posthorse_number") * parts % total).filter(**is_cut)
        names = [step.name for step in self._steps]
        for *key, before in cut.order_by("posthorse_number").values_list(*names, "posthorse_number"):
            yield Cut(cursor_of_key(key[0] if len(key) == 1 else tuple(key)), before)

    def _between(self, after: Cursor, upto: Cursor) -> Any:  # noqa: ANN401 - Django's
        wanted = self._queryset
        if after is not None:
            wanted = wanted.filter(self._beyond(after, is_behind=True))
        return wanted if upto is None else wanted.filter(self._beyond(upto, is_behind=False))

    def _beyond(self, cursor: Cursor, *, is_behind: bool) -> Any:  # noqa: ANN401 - Django's
        """Return the condition (a, b) > (x, y), written so that an index serves it: a >= x, and a > x or b > y.

        With `is_behind` false, it is (a, b) <= (x, y).
        """
        Q = _django("django.db.models").Q  # noqa: N806 - Django's name for it
        key = key_of_cursor(cursor)
        values = cast("tuple[object, ...]", key) if isinstance(key, tuple) else (key,)
        if len(values) != len(self._steps):
            raise UsageError(
                f"the saved position {cursor!r} does not fit the order of the queryset; was it changed since the job "
                "began?"
            )
        condition: Any = None
        for step, value in reversed(list(zip(self._steps, values, strict=True))):
            sign = "gt" if step.falls is not is_behind else "lt"
            strictly, or_equal = Q(**{f"{step.name}__{sign}": value}), Q(**{f"{step.name}__{sign}e": value})
            if condition is None:
                condition = strictly if is_behind else or_equal
            else:
                condition = or_equal & (strictly | condition)
        return condition


def _alone(queryset: Any) -> Any:  # noqa: ANN401 - Django's
    """Return a queryset of the same objects that can be numbered: DISTINCT and groups would count the numbers in."""
    query = queryset.query
    if not (query.distinct or query.annotations or query.extra):
        return queryset.order_by()
    plain: Any = queryset.model._base_manager.using(queryset.db)
    return plain.filter(pk__in=queryset.order_by().values("pk"))


def _check(queryset: Any) -> None:  # noqa: ANN401 - Django's
    query = queryset.query
    for is_there, what, instead in (
        (query.is_sliced, "is cut to a range", "leave [:n] out, and end the loop yourself"),
        (query.combinator, "is a union", "slice each part in a loop of its own"),
        (query.distinct_fields, "has distinct(fields)", "slice the plain queryset"),
        (
            not issubclass(queryset._iterable_class, _django("django.db.models.query").ModelIterable),
            "gives values(), not objects",
            "slice the objects, with only() if they are wide",
        ),
    ):
        if is_there:
            raise InvalidOption(f"this queryset {what}, so it cannot be read on page by page; {instead}")


def _order_of(queryset: Any) -> Sequence[OrderField]:  # noqa: ANN401 - Django's
    """Return the fields of the order, followed by the primary key if they may be equal for two objects."""
    query, meta = queryset.query, queryset.model._meta
    wanted = query.order_by or (meta.ordering if query.default_ordering else ())
    if query.extra_order_by:
        raise _unordered("extra(order_by=…)")
    steps: list[OrderField] = []
    for each in wanted or ("pk",):
        if not isinstance(each, str) or each == "?" or "__" in each:
            raise _unordered(repr(each))
        name, falls = each.lstrip("-+"), each.startswith("-") == query.standard_ordering
        named = [field for field in meta.concrete_fields if name in (field.name, field.attname)]
        field = meta.pk if name == "pk" else next(iter(named), None)
        if field is None:
            raise _unordered(repr(each))
        if field.null:
            raise InvalidOption(
                f"the queryset is ordered by {each!r}, which may be NULL, and NULL has no place in an order that can "
                'be gone on with; order it by "pk", or by fields that are never NULL'
            )
        steps.append(OrderField(field.attname, falls))
        if field.unique:
            return steps
    return [*steps, OrderField(meta.pk.attname, False)]


def _unordered(what: str) -> InvalidOption:
    return InvalidOption(
        f"the queryset is ordered by {what}, an order in which a loop cannot continue after an object; order it by "
        'fields of its own model, as order_by("created_at", "pk")'
    )


def _django(module: str) -> Any:  # noqa: ANN401 - Django's
    """Import Django only when it is needed: code that has a queryset has Django."""
    return import_module(module)
