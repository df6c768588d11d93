"""Library sources cut into ranges: selects and querysets, by the keys at which a part of the rows ends."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import create_async_engine

from posthorse.rules.cursor import Cursor
from posthorse.rules.ranges import Range
from posthorse.worker.checkpoints.sources import AsyncSource, as_source, rows
from posthorse.worker.checkpoints.sources.base import AsyncSplittable
from tests.worker.cutting import assert_covered, met, split, within

Books: TypeAlias = Any  # a queryset; Django has no types
FIRST = datetime(2026, 1, 1, tzinfo=UTC)


class Base(orm.DeclarativeBase):
    pass


class Visit(Base):
    __tablename__ = "cut_visits"
    id: orm.Mapped[uuid.UUID] = orm.mapped_column(primary_key=True)
    number: orm.Mapped[int] = orm.mapped_column(unique=True)
    at: orm.Mapped[datetime] = orm.mapped_column(sa.DateTime(timezone=True))
    price: orm.Mapped[Decimal] = orm.mapped_column(sa.Numeric(10, 2, asdecimal=True))


class Place(Base):
    __tablename__ = "cut_places"
    shop: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    shelf: orm.Mapped[int] = orm.mapped_column(primary_key=True)


def url_of(store_url: str) -> str:
    driver = "sqlite" if store_url.startswith("sqlite") else "postgresql+psycopg"
    return f"{driver}{store_url[store_url.index(':') :]}".replace("jobs.db", "shop.db")


@pytest.fixture
def engine(store_url: str) -> Iterator[sa.Engine]:
    """Yield the user's own tables, in either database."""
    engine = sa.create_engine(url_of(store_url))
    Base.metadata.create_all(engine)
    with orm.Session(engine) as session, session.begin():
        for number in range(23):
            at = FIRST + timedelta(days=number // 4)
            session.add(Visit(id=uuid.uuid4(), number=number, at=at, price=Decimal(number // 3)))
        session.add_all(Place(shop=f"shop {n // 3}", shelf=n % 3) for n in range(8))
    yield engine
    engine.dispose()


def key(row: Any) -> object:  # noqa: ANN401 - an entity or a row
    return getattr(row, "number", None) if isinstance(row, Visit) else tuple(row)


@pytest.mark.parametrize("parts", [1, 2, 5, 22, 23, 40])
@pytest.mark.parametrize("columns", [(Visit.number,), (Visit.at, Visit.number), (Visit.price, Visit.number)])
def test_a_select_is_cut_into_even_parts(engine: sa.Engine, columns: tuple[Any, ...], parts: int) -> None:
    ranges = assert_covered(lambda: rows(engine, sa.select(Visit), key=columns), parts, range(23), look=key, again=1)
    totals = [each.total or 0 for each in ranges]
    assert len(ranges) == min(parts, 23)
    assert max(totals) - min(totals) <= 1


def test_a_select_is_cut_by_its_primary_key_and_its_conditions_hold(engine: sa.Engine) -> None:
    wanted = sa.select(Visit).where(Visit.number % 2 == 0)
    with orm.Session(engine) as session:
        expected = [visit.number for visit in session.scalars(wanted.order_by(Visit.id))]
    assert_covered(lambda: rows(engine, wanted), 4, expected, look=key)
    places = [(f"shop {n // 3}", n % 3) for n in range(8)]
    assert_covered(lambda: rows(engine, sa.select(Place.__table__)), 3, places, look=key, limit=1)


SHOP = sa.func.lower(Place.shop)


@pytest.mark.parametrize(
    ("select", "by", "expected"),
    [
        (
            sa.select(Place.shop, sa.func.count()).group_by(Place.shop),
            Place.shop,
            [("shop 0", 3), ("shop 1", 3), ("shop 2", 2)],
        ),
        (sa.select(Visit.price).distinct(), Visit.price, [(Decimal(n),) for n in range(8)]),
        (sa.select(SHOP).distinct(), SHOP, [(f"shop {n}",) for n in range(3)]),
    ],
)
def test_groups_are_cut_between_and_counted_as_one(
    engine: sa.Engine, select: sa.Select[Any], by: object, expected: list[object]
) -> None:
    ranges = assert_covered(lambda: rows(engine, select, key=by), 2, expected, look=key, limit=1)
    assert [each.total for each in ranges] == [-(-len(expected) // 2), len(expected) // 2]


def test_a_select_of_nothing_is_one_empty_range(engine: sa.Engine) -> None:
    nothing = sa.select(Visit).where(Visit.number < 0)
    assert split(lambda: rows(engine, nothing), 5) == [Range(total=0)]
    assert_covered(lambda: rows(engine, sa.select(Visit).where(Visit.number == 3)), 5, [3], look=key)


def test_rows_added_behind_the_last_one_belong_to_the_last_range(engine: sa.Engine) -> None:
    def source() -> object:
        return rows(engine, sa.select(Visit), key=Visit.number)

    first, second = split(source, 2)
    with orm.Session(engine) as session, session.begin():
        session.add(Visit(id=uuid.uuid4(), number=99, at=FIRST, price=Decimal(1)))
        session.execute(sa.delete(Visit).where(Visit.number == 5))
    found = [[key(row) for row in met(within(source, each))[0]] for each in (first, second)]
    assert found == [[0, 1, 2, 3, 4, *range(6, 12)], [*range(12, 23), 99]]


def test_bad_rows_of_a_part_are_found_again(engine: sa.Engine) -> None:
    part = within(lambda: rows(engine, sa.select(Visit), key=Visit.number), Range(4, 9))
    items = part.read(None, 10).items
    keys: list[Cursor] = [part.key_of(item) for item in items]  # type: ignore[attr-defined]
    assert keys == [5, 6, 7, 8, 9]
    assert [key(row) for row in part.find([7, 9])] == [7, 9]  # type: ignore[attr-defined]


@settings(max_examples=40, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=30), st.integers(1, 9), st.integers(1, 4))
def test_any_rows_are_cut_into_any_number_of_parts(keys: set[tuple[int, int]], parts: int, limit: int) -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    table = sa.Table("t", sa.MetaData(), sa.Column("a", sa.Integer), sa.Column("b", sa.Integer))
    table.create(engine)
    with engine.begin() as connection:
        if keys:
            connection.execute(table.insert(), [{"a": a, "b": b} for a, b in keys])
    ranges = assert_covered(
        lambda: rows(engine, sa.select(table), key=(table.c.a, table.c.b)), parts, sorted(keys), look=key, limit=limit
    )
    totals = [each.total or 0 for each in ranges]
    assert len(ranges) == max(1, min(parts, len(keys)))
    assert max(totals) - min(totals) <= 1
    engine.dispose()


@pytest.mark.parametrize("driver", ["sqlite+aiosqlite", "postgresql+asyncpg"])
def test_an_async_engine_is_cut_with_await(driver: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    table = sa.Table("numbers", sa.MetaData(), sa.Column("number", sa.BigInteger, primary_key=True))
    url = f"{driver}:///{tmp_path}/shop.db"
    if driver.startswith("postgresql"):
        given: str = request.getfixturevalue("postgres_url")
        url = f"{driver}{given[given.index(':') :]}"

    async def scene() -> list[int]:
        engine = create_async_engine(url)
        async with engine.begin() as connection:
            await connection.run_sync(table.metadata.create_all)
            await connection.execute(sa.insert(table), [{"number": number} for number in range(11)])
        source: AsyncSource[Any] = rows(engine, sa.select(table))
        assert isinstance(source, AsyncSplittable)
        found: list[int] = []
        ranges = await source.asplit(4, None, None)
        assert [each.total for each in ranges] == [3, 3, 3, 2]
        for each in ranges:
            chunk = await source.within(each).aread(None, 100)
            assert await source.within(each).acount() == len(chunk.items)
            found += [row.number for row in chunk.items]
        await engine.dispose()
        return found

    assert asyncio.run(scene()) == list(range(11))


def test_rows_keyed_by_local_times_are_cut_in_the_hour_that_is_repeated(postgres_url: str) -> None:
    url = f"postgresql+psycopg{postgres_url[postgres_url.index(':') :]}"
    engine = sa.create_engine(url, connect_args={"options": "-c timezone=Europe/Berlin"})
    table = sa.Table("readings", sa.MetaData(), sa.Column("at", sa.DateTime(timezone=True), primary_key=True))
    table.create(engine)
    night = [datetime(2026, 10, 24, 23, tzinfo=UTC) + timedelta(minutes=15 * n) for n in range(20)]
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"at": moment} for moment in night])
    for parts in (2, 7, 20):
        ranges = assert_covered(
            lambda: rows(engine, sa.select(table)),
            parts,
            night,
            look=lambda row: row.at.astimezone(UTC),  # type: ignore[attr-defined]
            again=1,
        )
        assert len(ranges) == parts
    engine.dispose()


# ── Django ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def shelves(request: pytest.FixtureRequest, store_url: str, tmp_path: Path) -> Iterator[Books]:
    """Yield a model with nine books and their loans, in either database beside the default one."""
    import django
    from django.conf import settings as django_settings
    from django.db import connections, models
    from psycopg.conninfo import conninfo_to_dict

    if not django_settings.configured:
        django_settings.configure(DATABASES={"default": {}}, USE_TZ=True)
        django.setup()
    database: dict[str, object] = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "books.db")}
    if not store_url.startswith("sqlite"):
        known = conninfo_to_dict(store_url)
        database = {"ENGINE": "django.db.backends.postgresql", "NAME": known.pop("dbname")}
        database |= {
            name.upper(): str(known.pop(name)) for name in ("host", "port", "user", "password") if name in known
        }
        database["OPTIONS"] = known
    wanted = {"default": {}, "cut_books": database}
    connections.databases["cut_books"] = connections.configure_settings(wanted)["cut_books"]

    class CutBook(models.Model):  # type: ignore[misc]  # Django has no types
        code = models.CharField(max_length=9, unique=True)
        shelf = models.IntegerField()
        price = models.DecimalField(max_digits=6, decimal_places=2, default=1)

        class Meta:
            app_label = f"library{uuid.uuid4().hex}"

    class CutLoan(models.Model):  # type: ignore[misc]  # Django has no types
        book = models.ForeignKey(CutBook, on_delete=models.CASCADE, related_name="+")

        class Meta:
            app_label = CutBook._meta.app_label

    with connections["cut_books"].schema_editor() as editor:
        editor.create_model(CutBook)
        editor.create_model(CutLoan)
    for number in range(11):
        book = CutBook.objects.using("cut_books").create(code=f"c{number:02}", shelf=number // 4)
        for _ in range(number % 3):
            CutLoan.objects.using("cut_books").create(book=book)
    books = CutBook.objects.using("cut_books")
    books.loan = CutLoan
    yield books
    connections["cut_books"].close()
    del connections["cut_books"], connections.databases["cut_books"]


def code(book: Any) -> int:  # noqa: ANN401 - of Django
    return int(book.code[1:])


@pytest.mark.parametrize("order", [[], ["-pk"], ["shelf"], ["-shelf"], ["-shelf", "-code"], ["shelf", "-id"]])
@pytest.mark.parametrize("parts", [1, 2, 4, 10, 20])
def test_a_queryset_is_cut_in_its_own_order(shelves: Books, order: Sequence[str], parts: int) -> None:
    wanted = shelves.order_by(*order) if order else shelves.all()
    expected = [code(book) for book in (wanted if len(order) != 1 else wanted.order_by(*order, "pk"))]
    ranges = assert_covered(lambda: as_source(wanted), parts, expected, look=code, limit=2, again=1)
    totals = [each.total or 0 for each in ranges]
    assert len(ranges) == min(parts, 11)
    assert max(totals) - min(totals) <= 1


def test_querysets_with_conditions_joins_and_annotations_are_cut_evenly(shelves: Books) -> None:
    from django.db.models import Count, F

    some = shelves.filter(shelf__lt=2)
    apart = shelves.filter(shelf__gte=1).distinct()
    counted = shelves.annotate(copies=Count("pk")).filter(copies=1, shelf=0)
    dearer = shelves.annotate(dearer=F("price") + 1)
    loans = shelves.loan.objects.using(shelves.db).filter(book__shelf__lt=2).order_by("book")
    for wanted, expected in (
        (some, list(range(8))),
        (apart, list(range(4, 11))),
        (counted, list(range(4))),
        (dearer, list(range(11))),
    ):
        ranges = assert_covered(lambda wanted=wanted: as_source(wanted), 3, expected, look=code, limit=2)  # type: ignore[misc]
        totals = [each.total or 0 for each in ranges]
        assert len(ranges) == 3
        assert max(totals) - min(totals) <= 1
    books = [loan.book_id for loan in loans]
    assert len(books) == 7
    assert_covered(lambda: as_source(loans), 4, books, look=lambda loan: loan.book_id)  # type: ignore[attr-defined]
    assert split(lambda: as_source(shelves.filter(shelf=99)), 3) == [Range(total=0)]


def test_objects_that_come_and_go_change_no_cut(shelves: Books) -> None:
    first, second = split(lambda: as_source(shelves.all()), 2)
    shelves.create(code="c98", shelf=1)
    shelves.filter(code="c03").delete()
    found = [
        [code(book) for book in met(within(lambda: as_source(shelves.all()), each))[0]] for each in (first, second)
    ]
    assert found == [[0, 1, 2, 4, 5], [*range(6, 11), 98]]
    part = within(lambda: as_source(shelves.all()), second)
    last = part.read(None, 100).items[-1]
    assert part.find([part.key_of(last)]) == [last]  # type: ignore[attr-defined]
    assert json.loads(json.dumps(first.upto)) == first.upto
