"""Library sources, SQLAlchemy selects and Django querysets: page by page after a key, without open transactions."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import create_async_engine

import posthorse as ph
from posthorse.errors import InvalidOption, UsageError
from posthorse.rules.cursor import Cursor
from posthorse.worker.checkpoints.sources import AsyncSource, Source, as_source, rows

Books: TypeAlias = Any  # a queryset; Django has no types
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


class Base(orm.DeclarativeBase):
    pass


class Visit(Base):
    __tablename__ = "visits"
    id: orm.Mapped[uuid.UUID] = orm.mapped_column(primary_key=True)
    number: orm.Mapped[int] = orm.mapped_column(unique=True)
    at: orm.Mapped[datetime] = orm.mapped_column(sa.DateTime(timezone=True))
    price: orm.Mapped[Decimal] = orm.mapped_column(sa.Numeric(10, 2, asdecimal=True))
    note: orm.Mapped[str | None]


class Place(Base):
    __tablename__ = "places"
    shop: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    shelf: orm.Mapped[int] = orm.mapped_column(primary_key=True)


KEYLESS = sa.Table("keyless", Base.metadata, sa.Column("number", sa.Integer))


@pytest.fixture
def engine(store_url: str) -> Iterator[sa.Engine]:
    """Yield the user's own tables, in either database."""
    driver = "sqlite" if store_url.startswith("sqlite") else "postgresql+psycopg"
    engine = sa.create_engine(f"{driver}{store_url[store_url.index(':') :]}".replace("jobs.db", "shop.db"))
    Base.metadata.create_all(engine)
    with orm.Session(engine) as session, session.begin():
        for number in range(10):
            at = FIRST + timedelta(days=number // 4)
            session.add(Visit(id=uuid.uuid4(), number=number, at=at, price=Decimal(number // 3), note=None))
        session.add_all(Place(shop=f"shop {n // 3}", shelf=n % 3) for n in range(8))
    yield engine
    engine.dispose()


def walked(make: Callable[[], Source[Any]], *, limit: int = 3) -> list[Any]:
    """Return all items of a source that is made again for every page, as after a restart."""
    cursor: Cursor = None
    items: list[Any] = []
    while True:
        chunk = make().read(cursor, limit)
        items += chunk.items
        cursor = json.loads(json.dumps(chunk.cursor))
        if chunk.is_last:
            return items


@pytest.mark.parametrize("limit", [3, 10])
def test_entities_come_once_in_the_order_of_their_primary_key(engine: sa.Engine, limit: int) -> None:
    found = walked(lambda: rows(engine, sa.select(Visit)), limit=limit)
    assert sorted(visit.number for visit in found) == list(range(10))
    assert [visit.id for visit in found] == sorted(visit.id for visit in found)
    assert rows(engine, sa.select(Visit)).count() == 10


def test_keys_of_several_columns_and_types_go_on_where_they_were(engine: sa.Engine) -> None:
    by_time = walked(lambda: rows(engine, sa.select(Visit), key=(Visit.at, Visit.id)))
    by_price = walked(lambda: rows(engine, sa.select(Visit), key=[Visit.price, Visit.number]))
    places = walked(lambda: rows(engine, sa.select(Place).where(Place.shelf > 0)), limit=2)
    assert [(visit.at, visit.id) for visit in by_time] == sorted((visit.at, visit.id) for visit in by_time)
    assert [visit.number for visit in by_price] == list(range(10))
    assert [(place.shop, place.shelf) for place in places] == [
        ("shop 0", 1), ("shop 0", 2), ("shop 1", 1), ("shop 1", 2), ("shop 2", 1)
    ]  # fmt: skip
    assert rows(engine, sa.select(Place).where(Place.shelf > 0)).count() == 5


def test_rows_have_the_columns_that_were_selected_and_no_more(engine: sa.Engine) -> None:
    pairs = walked(lambda: rows(engine, sa.select(Visit.number, Visit.note), key=Visit.number))
    assert [tuple(pair) for pair in pairs] == [(number, None) for number in range(10)]
    assert pairs[3].number == 3
    core = walked(lambda: rows(engine, sa.select(Place.__table__)))
    assert [tuple(row) for row in core] == [(f"shop {n // 3}", n % 3) for n in range(8)]
    alias = orm.aliased(Visit)
    assert len(walked(lambda: rows(engine, sa.select(alias).where(alias.number < 5)))) == 5
    counted = sa.select(Place.shop, sa.func.count()).group_by(Place.shop)
    assert [tuple(row) for row in walked(lambda: rows(engine, counted, key=Place.shop), limit=1)] == [
        ("shop 0", 3), ("shop 1", 3), ("shop 2", 2)
    ]  # fmt: skip
    assert rows(engine, counted, key=Place.shop).count() == 3


@pytest.mark.parametrize(
    ("select", "key", "why"),
    [
        (sa.select(Visit).order_by(Visit.at), None, "has ORDER BY"),
        (sa.select(Visit).limit(5), None, "has LIMIT"),
        (sa.select(Visit).offset(5), None, "has OFFSET"),
        (sa.text("SELECT 1"), None, "needs a select"),
        (sa.select(KEYLESS), None, "no primary key"),
    ],
)
def test_a_select_that_cannot_be_paged_is_refused(
    sqlite_url: str, select: sa.Executable, key: object, why: str
) -> None:
    with pytest.raises(InvalidOption, match=why):
        rows(sa.create_engine("sqlite://"), select, key=key)


def test_what_is_no_engine_is_refused() -> None:
    with pytest.raises(InvalidOption, match=r"not from a Session; a session has its engine"):
        rows(orm.Session(), sa.select(Visit))  # type: ignore[call-overload]  # that is the point


def test_keys_that_are_not_unique_or_null_are_refused(engine: sa.Engine) -> None:
    with pytest.raises(UsageError, match="two rows have the key"):
        rows(engine, sa.select(Visit), key=Visit.at).read(None, 10)
    with pytest.raises(UsageError, match="NULL has no place"):
        rows(engine, sa.select(Visit).where(Visit.number == 1), key=Visit.note).read(None, 10)
    with pytest.raises(UsageError, match="was key= changed"):
        rows(engine, sa.select(Visit)).read([1, 2], 10)


def test_no_connection_is_held_between_two_slices_and_bad_rows_are_retried_afresh(
    app: ph.Posthorse, engine: sa.Engine
) -> None:
    held: list[int] = []
    notes: list[str | None] = []

    @app.job
    def visit_all(ctx: ph.Context) -> int:
        source = ph.rows(engine, sa.select(Visit), key=Visit.number)
        for batch in ctx.slices(source, size=4, tolerate=2):
            pool = engine.pool
            assert isinstance(pool, sa.QueuePool)
            held.append(pool.checkedout())
            for visit in batch:
                with batch.tolerate(visit):
                    if visit.number in (2, 7) and visit.note is None:
                        raise ValueError
                    notes.append(visit.note)
        return ctx.progress.done

    with app.worker():
        job = visit_all.enqueue()
        assert job.result(timeout=30) == 10
        assert held == [0, 0, 0]
        assert [one.item for one in job.bad_items()] == [2, 7]
        with orm.Session(engine) as session, session.begin():
            session.execute(sa.update(Visit).values(note="mended"))
        notes.clear()
        job.retry_bad_items()
        job.result(timeout=30)
    assert notes == ["mended", "mended"]
    assert job.bad_items() == []


def test_an_async_engine_is_read_with_await(sqlite_url: str, tmp_path: Path) -> None:
    app = ph.Posthorse(sqlite_url, lease="6s")

    @app.job
    async def visit_all(ctx: ph.Context) -> list[int]:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/shop.db")
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
            await connection.execute(sa.insert(KEYLESS), [{"number": number} for number in range(5)])
        met: list[int] = []
        async for batch in ctx.slices(ph.rows(engine, sa.select(KEYLESS), key=KEYLESS.c.number), size=2, tolerate=1):
            for row in batch:
                async with batch.tolerate(row):
                    met.append(row.number)
                    if row.number == 3 and len(met) < 5:
                        raise ValueError
        await engine.dispose()
        return met

    with app.worker():
        job = visit_all.enqueue()
        assert job.result(timeout=30) == [0, 1, 2, 3, 4]
        assert [one.item for one in job.bad_items()] == [3]
    app.close()


def test_a_connection_of_the_users_own_keeps_its_transaction(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/shop.db")
    Base.metadata.create_all(engine)
    with engine.connect() as connection:
        connection.execute(sa.insert(KEYLESS), [{"number": 1}])
        assert rows(connection, sa.select(KEYLESS), key=KEYLESS.c.number).count() == 1
        assert connection.in_transaction()
        connection.rollback()
        assert rows(connection, sa.select(KEYLESS), key=KEYLESS.c.number).count() == 0
        assert not connection.in_transaction()
    engine.dispose()


# ── Django ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    """Yield a model with nine rows, in a database beside the default one."""
    import django
    from django.conf import settings
    from django.db import connections, models

    if not settings.configured:
        settings.configure(DATABASES={"default": {}}, USE_TZ=True)
        django.setup()
    path = tmp_path_factory.mktemp("django") / "books.db"
    wanted = {"default": {}, "books": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}}
    connections.databases["books"] = connections.configure_settings(wanted)["books"]

    class Book(models.Model):  # type: ignore[misc]  # Django has no types
        code = models.CharField(max_length=9, unique=True)
        shelf = models.IntegerField()
        lent_to = models.CharField(max_length=9, null=True)

        class Meta:
            app_label = "library"

    with connections["books"].schema_editor() as editor:
        editor.create_model(Book)
    for number in range(9):
        Book.objects.using("books").create(code=f"c{number}", shelf=number // 4)
    yield Book.objects.using("books")
    connections["books"].close()
    del connections.databases["books"]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([], [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (["-pk"], [8, 7, 6, 5, 4, 3, 2, 1, 0]),
        (["shelf"], [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (["-shelf"], [8, 4, 5, 6, 7, 0, 1, 2, 3]),
        (["-shelf", "-code"], [8, 7, 6, 5, 4, 3, 2, 1, 0]),
        (["shelf", "-id"], [3, 2, 1, 0, 7, 6, 5, 4, 8]),
    ],
)
@pytest.mark.parametrize("limit", [1, 4])
def test_a_queryset_is_read_in_its_own_order(
    books: Books, order: Sequence[str], expected: list[int], limit: int
) -> None:
    wanted = books.order_by(*order) if order else books.all()
    found = walked(lambda: as_source(wanted), limit=limit)  # type: ignore[arg-type,return-value]  # a source of this colour
    assert [int(book.code[1:]) for book in found] == expected
    reverse = walked(lambda: as_source(books.order_by(*order or ["pk"]).reverse()))  # type: ignore[arg-type,return-value]  # as above
    assert {book.shelf for book in reverse[:1]} == {found[-1].shelf}
    source = as_source(wanted)
    assert not isinstance(source, AsyncSource)
    assert source.count() == 9


def test_a_queryset_whose_order_cannot_be_gone_on_with_is_refused(books: Books) -> None:
    from django.db.models import F

    for queryset, why in (
        (books.order_by("?"), "ordered by '\\?'"),
        (books.order_by("lent_to"), "may be NULL"),
        (books.order_by(F("shelf")), "fields of its own model"),
        (books.all()[:3], r"leave \[:n\] out"),
        (books.values("code"), "gives values"),
        (books.all().union(books.all()), "is a union"),
    ):
        with pytest.raises(InvalidOption, match=why):
            as_source(queryset)


def test_a_job_slices_a_queryset_and_retries_its_bad_objects(sqlite_url: str, books: Books) -> None:
    from asgiref.sync import sync_to_async
    from django.db import connections

    opened: list[object] = []
    app = ph.Posthorse(sqlite_url, lease="6s")
    bad = [3, 5]

    @app.job
    def lend(ctx: ph.Context) -> list[int]:
        met = ctx.keep("met", list[int]())
        for batch in ctx.slices(books.filter(shelf__lt=2), size=3, tolerate=2):
            for book in batch:
                with batch.tolerate(book):
                    met.append(book.pk)
                    if book.pk in bad:
                        raise ValueError
        connections["books"].close()  # of this thread
        return met

    @app.job(max_attempts=1)
    async def alend(ctx: ph.Context) -> int:
        async for batch in ctx.slices(books.order_by("code"), size=5):
            assert batch[0].shelf < 3
            opened.append(await sync_to_async(lambda: connections["books"].connection)())
        await sync_to_async(lambda: connections["books"].close())()
        assert opened[0] is not None
        assert opened[0] is opened[1]
        return ctx.progress.done

    with app.worker():
        job = lend.enqueue()
        assert job.result(timeout=30) == list(range(1, 9))
        bad.clear()
        job.retry_bad_items()
        assert job.result(timeout=30) == [*range(1, 9), 3, 5]
        assert alend.enqueue().result(timeout=30) == 9
    app.close()


@pytest.mark.parametrize(
    ("select", "key", "message"),
    [
        (sa.select(Visit.price).distinct(), None, "has DISTINCT, and its key is not among those columns"),
        (sa.select(Visit.price, sa.func.count()).group_by(Visit.price), None, "has GROUP BY, and its key"),
        (sa.select(sa.func.count()), None, "no primary key"),
        (sa.select(Visit), "number", "key holds 'number'; give columns"),
    ],
)
def test_a_key_that_would_tear_groups_apart_or_is_none_is_refused(
    engine: sa.Engine, select: sa.Select[Any], key: object, message: str
) -> None:
    with pytest.raises(InvalidOption, match=message):
        rows(engine, select, key=key)


@pytest.mark.parametrize(
    ("select", "key", "count"),
    [
        (sa.select(Visit.price).distinct(), Visit.price, 4),
        (sa.select(Visit.price.label("cost"), sa.func.count()).group_by(Visit.price), Visit.price, 4),
        (sa.select(Visit).distinct(), None, 10),
        (sa.select(Visit).group_by(Visit.id), None, 10),
        (sa.select(sa.func.lower(Place.shop)).distinct(), sa.func.lower(Place.shop), 3),
    ],
)
def test_groups_are_met_whole_page_by_page(engine: sa.Engine, select: sa.Select[Any], key: object, count: int) -> None:
    source = rows(engine, select, key=key)
    cursor, met, is_last = None, 0, False
    while not is_last:
        chunk = source.read(cursor, 2)
        cursor, met, is_last = chunk.cursor, met + len(chunk.items), chunk.is_last
    assert (met, source.count()) == (count, count)


def test_rows_keyed_by_local_times_cross_the_hour_that_is_repeated(postgres_url: str) -> None:
    """A session in Berlin shows an hour of October 25th twice; in UTC no two of these times are the same."""
    url = f"postgresql+psycopg{postgres_url[postgres_url.index(':') :]}"
    engine = sa.create_engine(url, connect_args={"options": "-c timezone=Europe/Berlin"})
    table = sa.Table("readings", sa.MetaData(), sa.Column("at", sa.DateTime(timezone=True), primary_key=True))
    table.create(engine)
    night = [datetime(2026, 10, 24, 23, tzinfo=UTC) + timedelta(minutes=15 * n) for n in range(20)]
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"at": moment} for moment in night])
    for limit in (1, 3, 100):
        source, cursor, met = rows(engine, sa.select(table)), None, list[datetime]()
        assert isinstance(source, Source)
        while True:
            chunk = source.read(cursor, limit)
            met += [row.at.astimezone(UTC) for row in chunk.items]
            cursor = json.loads(json.dumps(chunk.cursor))
            if chunk.is_last:
                break
        assert met == night
    engine.dispose()
