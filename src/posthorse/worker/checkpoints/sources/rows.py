"""Rows of an SQLAlchemy select as a source: page by page, after the key of the last row.

SQLAlchemy is the user's dependency, so it is imported only once there is a select. Between two reads, no connection of
an engine is held and no transaction is open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from posthorse.errors import InvalidOption, UsageError
from posthorse.rules.cursor import Cursor, cursor_of_key, in_utc, key_of_cursor
from posthorse.rules.ranges import Cut, Range, cut_at
from posthorse.worker.checkpoints.sources.base import AsyncSource, Chunk, Source

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Executable
    from sqlalchemy.ext.asyncio import AsyncEngine

T = TypeVar("T")

_KEYS_IN_A_STATEMENT = 200
_KEY, _NUMBER = "posthorse_key_", "posthorse_number"


@overload
def rows(engine: AsyncEngine, select: Executable, *, key: object = None) -> AsyncSource[Any]: ...
@overload
def rows(engine: Engine | Connection, select: Executable, *, key: object = None) -> Source[Any]: ...
def rows(
    engine: Engine | Connection | AsyncEngine, select: Executable, *, key: object = None
) -> Source[Any] | AsyncSource[Any]:
    """Return what an SQLAlchemy select finds as a source, in the order of its key: entities of one class, or rows.

    engine: an Engine, or an AsyncEngine for an `async for`. A Connection works, too, if only the loop uses it.
    select: without ORDER BY, LIMIT and OFFSET, because the loop sets them.
    key: the column, or a tuple of columns, by which the rows are ordered, and that no two rows share; by default the
        primary key of the first table. Values may be int, str, float, datetime, date, UUID, Decimal or bytes.

    Entities are detached from their session: load what the loop needs with the select, as by selectinload().
    """
    from sqlalchemy import Connection as SyncConnection
    from sqlalchemy import Engine as SyncEngine

    pages = Pages(select, key)
    if isinstance(engine, SyncEngine | SyncConnection):
        return Rows(engine, pages)
    if hasattr(engine, "sync_engine") and not hasattr(engine, "sync_connection"):
        return AsyncRows(engine, pages)
    raise InvalidOption(
        f"ph.rows reads from an Engine, a Connection or an AsyncEngine, not from a {type(engine).__qualname__}; a "
        "session has its engine in session.get_bind()"
    )


class Rows:
    """The rows of a sync engine."""

    def __init__(self, engine: Engine | Connection, pages: Pages) -> None:
        self._engine = engine
        self._pages = pages
        self.key_of = pages.key_of

    def count(self) -> int | None:
        return self._in_session(self._pages.count)

    def read(self, cursor: Cursor, limit: int) -> Chunk[object]:
        return self._in_session(lambda session: self._pages.read(session, cursor, limit))

    def find(self, keys: Sequence[Cursor]) -> Sequence[object]:
        return self._in_session(lambda session: self._pages.find(session, keys))

    def split(self, parts: int, after: Cursor, upto: Cursor) -> Sequence[Range]:
        return self._in_session(lambda session: self._pages.split(session, parts, Range(after, upto)))

    def within(self, range: Range) -> Rows:
        return Rows(self._engine, self._pages.within(range))

    def close(self) -> None:
        """Do nothing: it holds nothing open."""

    def _in_session(self, work: Callable[[Any], T]) -> T:
        from sqlalchemy.orm import Session

        # If the owner of the connection has begun a transaction, ours is a savepoint in it.
        with Session(self._engine, join_transaction_mode="create_savepoint") as session:
            return work(session)


class AsyncRows:
    """The rows of an async engine."""

    def __init__(self, engine: AsyncEngine, pages: Pages) -> None:
        self._engine = engine
        self._pages = pages
        self.key_of = pages.key_of

    async def acount(self) -> int | None:
        return await self._in_session(self._pages.count)

    async def aread(self, cursor: Cursor, limit: int) -> Chunk[object]:
        return await self._in_session(lambda session: self._pages.read(session, cursor, limit))

    async def afind(self, keys: Sequence[Cursor]) -> Sequence[object]:
        return await self._in_session(lambda session: self._pages.find(session, keys))

    async def asplit(self, parts: int, after: Cursor, upto: Cursor) -> Sequence[Range]:
        return await self._in_session(lambda session: self._pages.split(session, parts, Range(after, upto)))

    def within(self, range: Range) -> AsyncRows:
        return AsyncRows(self._engine, self._pages.within(range))

    def close(self) -> None:
        """Do nothing: it holds nothing open."""

    async def _in_session(self, work: Callable[[Any], T]) -> T:
        from sqlalchemy.ext.asyncio import AsyncSession

        async with AsyncSession(self._engine) as session:
            return await session.run_sync(work)


class Pages:
    """The pages of a select; the session is open for one read at a time."""

    def __init__(self, select: Executable, key: object) -> None:
        self._select: Any = _checked(select)
        self._columns = _key_columns(self._select, key)
        _check_groups(self._select, self._columns)
        self._width = len(self._select.column_descriptions)
        self._gives_entities = _gives_entities(self._select)
        self._range: Range | None = None
        self._keys: dict[int, tuple[object, Cursor]] = {}

    def within(self, range: Range) -> Pages:
        """Return the pages of one range."""
        part = copy(self)
        part._range, part._keys = range, {}
        return part

    def count(self, session: Any) -> int | None:  # noqa: ANN401 - SQLAlchemy's
        return self._counted(session, self._keys_alone()) if self._range is None else self._range.total

    def read(self, session: Any, cursor: Cursor, limit: int) -> Chunk[object]:  # noqa: ANN401 - SQLAlchemy's
        within = self._range or Range()
        wanted = self._between(self._with_keys(), within.after if cursor is None else cursor, within.upto)
        statement = wanted.order_by(*self._columns).limit(limit + 1)
        found, keys = self._fetched(session, statement)
        _check_unique(keys)
        items, cursors = found[:limit], [_cursor(key) for key in keys[:limit]]
        self._remember(items, cursors)
        if not items:
            return Chunk((), cursor, is_last=True)
        return Chunk(items, cursors[-1], is_last=len(found) <= limit)

    def find(self, session: Any, keys: Sequence[Cursor]) -> Sequence[object]:  # noqa: ANN401 - SQLAlchemy's
        from sqlalchemy import and_, or_

        items: list[object] = []
        cursors: list[Cursor] = []
        for start in range(0, len(keys), _KEYS_IN_A_STATEMENT):
            wanted = map(self._values, keys[start : start + _KEYS_IN_A_STATEMENT])
            each = [and_(*(c == v for c, v in zip(self._columns, values, strict=True))) for values in wanted]
            found, its_keys = self._fetched(session, self._with_keys().where(or_(*each)))
            items += found
            cursors += map(_cursor, its_keys)
        self._remember(items, cursors)
        return items

    def split(self, session: Any, parts: int, whole: Range) -> Sequence[Range]:  # noqa: ANN401 - SQLAlchemy's
        """Cut a range into even ones: count it, then number the keys in one pass and fetch those at the cuts."""
        keys = self._between(self._keys_alone(), whole.after, whole.upto)
        total = self._counted(session, keys)
        cuts = _cuts(session, keys.subquery(), parts, total) if total > 1 else ()
        return cut_at(Range(whole.after, whole.upto, total), cuts)

    def key_of(self, item: object) -> Cursor:
        """Return the key of an item from the page that was read last."""
        return self._keys[id(item)][1]

    def _with_keys(self) -> Any:  # noqa: ANN401 - SQLAlchemy's
        return self._select.add_columns(*self._labelled())

    def _keys_alone(self) -> Any:  # noqa: ANN401 - SQLAlchemy's
        if _is_grouped(self._select):  # what is grouped depends on all of its columns
            return self._with_keys()
        return self._select.with_only_columns(*self._labelled(), maintain_column_froms=True)

    def _labelled(self) -> Sequence[Any]:
        return [column.label(f"{_KEY}{place}") for place, column in enumerate(self._columns)]

    def _between(self, statement: Any, after: Cursor, upto: Cursor) -> Any:  # noqa: ANN401 - SQLAlchemy's
        if after is not None:
            statement = statement.where(_behind(self._columns, self._values(after)))
        if upto is not None:
            statement = statement.where(_not_behind(self._columns, self._values(upto)))
        return statement

    def _counted(self, session: Any, keys: Any) -> int:  # noqa: ANN401 - SQLAlchemy's
        from sqlalchemy import func, select

        counted: int = session.scalar(select(func.count()).select_from(keys.subquery()))
        return counted

    def _fetched(self, session: Any, statement: Any) -> tuple[list[object], list[tuple[object, ...]]]:  # noqa: ANN401
        result = session.execute(statement).freeze()
        keys = [tuple(row)[self._width :] for row in result()]
        if self._gives_entities:
            return list(result().scalars()), keys
        return list(result().columns(*range(self._width))), keys

    def _remember(self, items: Sequence[object], cursors: Sequence[Cursor]) -> None:
        self._keys = {id(item): (item, cursor) for item, cursor in zip(items, cursors, strict=True)}

    def _values(self, cursor: Cursor) -> tuple[object, ...]:
        key = key_of_cursor(cursor)
        values = cast("tuple[object, ...]", key) if isinstance(key, tuple) else (key,)
        if len(values) != len(self._columns):
            raise UsageError(
                f"the saved position {cursor!r} is not a key of {len(self._columns)} columns; was key= changed since "
                "the job began?"
            )
        return values


def _checked(select: object) -> Any:  # noqa: ANN401 - SQLAlchemy's
    from sqlalchemy import Select

    if not isinstance(select, Select):
        raise InvalidOption(
            f"ph.rows needs a select(…), not a {type(select).__qualname__}; text and unions fit in as "
            "select(union.subquery()), with key="
        )
    statement: Any = cast("Any", select)
    for clause, is_there in (
        ("ORDER BY", bool(statement._order_by_clauses)),
        ("LIMIT", statement._limit_clause is not None),
        ("OFFSET", statement._offset_clause is not None),
    ):
        if is_there:
            raise InvalidOption(
                f"the select has {clause}, but the loop goes page by page in the order of its key; leave that out, and "
                "say with key= what to order by"
            )
    return statement


def _key_columns(select: Any, key: object) -> Sequence[Any]:  # noqa: ANN401 - SQLAlchemy's
    if key is not None:
        given = tuple(cast("Sequence[Any]", key)) if isinstance(key, tuple | list) else (key,)
        for column in given:
            if not hasattr(column, "label"):
                raise InvalidOption(f"key holds {column!r}; give columns, as key=(Order.created_at, Order.id)")
        return given
    entity = select.column_descriptions[0].get("entity")
    if entity is not None:
        from sqlalchemy import inspect

        mapped = inspect(entity)
        if mapped.is_aliased_class:
            return [mapped.selectable.corresponding_column(column) for column in mapped.mapper.primary_key]
        return list(mapped.mapper.primary_key)
    tables = select.get_final_froms()
    columns = list(getattr(tables[0], "primary_key", ())) if tables else []
    if not columns:
        raise InvalidOption("the first table of the select has no primary key; say with key= what no two rows share")
    return columns


def _check_groups(select: Any, columns: Sequence[Any]) -> None:  # noqa: ANN401 - SQLAlchemy's
    """Refuse a key that would split groups: a page starts after a key, so all rows of a group must have the same."""
    for clause, together in (
        ("GROUP BY", list(select._group_by_clauses)),
        ("DISTINCT", list(select._distinct_on or select.selected_columns) if select._distinct else []),
    ):
        if together and not all(any(_is_same(column, each) for each in together) for column in columns):
            raise InvalidOption(
                f"the select has {clause}, and its key is not among those columns, so each page would make groups of "
                "its own; say with key= which of them to order by"
            )


def _is_same(column: Any, other: Any) -> bool:  # noqa: ANN401 - SQLAlchemy's
    one, two = (getattr(each, "__clause_element__", lambda each=each: each)() for each in (column, other))
    shares = getattr(two, "shares_lineage", None)
    return shares is None or bool(one.compare(two)) or bool(shares(one))  # None: a label's name, which may be anything


def _gives_entities(select: Any) -> bool:  # noqa: ANN401 - SQLAlchemy's
    first, *others = select.column_descriptions
    entity = first.get("entity")
    return not others and entity is not None and first["expr"] is entity


def _is_grouped(select: Any) -> bool:  # noqa: ANN401 - SQLAlchemy's
    return bool(select._group_by_clauses or select._distinct)


def _behind(columns: Sequence[Any], values: Sequence[object]) -> Any:  # noqa: ANN401 - SQLAlchemy's
    """Return the condition (a, b) > (x, y) in a form for which every database uses an index."""
    from sqlalchemy import and_, or_

    first, value = columns[0], values[0]
    if len(columns) == 1:
        return first > value
    return and_(first >= value, or_(first > value, _behind(columns[1:], values[1:])))


def _not_behind(columns: Sequence[Any], values: Sequence[object]) -> Any:  # noqa: ANN401 - SQLAlchemy's
    """Return the condition (a, b) <= (x, y) in such a form."""
    from sqlalchemy import and_, or_

    first, value = columns[0], values[0]
    if len(columns) == 1:
        return first <= value
    return and_(first <= value, or_(first < value, _not_behind(columns[1:], values[1:])))


def _cuts(session: Any, keys: Any, parts: int, total: int) -> Iterator[Cut]:  # noqa: ANN401 - SQLAlchemy's
    """Yield the keys at which so many rows are cut into even parts."""
    from sqlalchemy import BigInteger, func, select

    columns = [column for column in keys.c if column.name.startswith(_KEY)]
    numbered = select(*columns, func.row_number(type_=BigInteger()).over(order_by=columns).label(_NUMBER)).subquery()
    number = numbered.c[_NUMBER]
    # The number is the first one in its part: `number * parts / total` has just passed a whole number.
    is_cut = (number * min(parts, total)) % total < min(parts, total)
    statement = select(numbered).where(is_cut, number < total).order_by(number)
    for *key, before in session.execute(statement):
        yield Cut(_cursor(tuple(key)), before)


def _cursor(key: tuple[object, ...]) -> Cursor:
    if None in key:
        raise UsageError(f"a row has the key {key!r}, and NULL has no place in an order; name a key= that is NOT NULL")
    return cursor_of_key(key[0] if len(key) == 1 else key)


def _check_unique(keys: Sequence[tuple[object, ...]]) -> None:
    for one, other in pairwise(keys):
        if one == other and in_utc(one) == in_utc(other):
            raise UsageError(
                f"two rows have the key {one!r}, so the loop could lose one between two pages; name a key= that no two "
                "rows share, as key=(Order.created_at, Order.id)"
            )
