"""User transactions: effects, cursor and fence of a slice in one commit on the user's connection, or nothing."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from sqlalchemy import orm

import posthorse as ph
from tests.effects import effects_of, make_effects
from tests.libraries import Library, Party, through
from tests.servers.proxy import FaultProxy, Moment, fault_proxy
from tests.waiting import until, until_state

Body = Callable[[ph.Context, Party, int], Awaitable[None]]
"""What happens to one item, inside the transaction of its slice."""


@pytest.fixture
def url(library: Library, request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(f"{library.store}_url")
    return found


@pytest.fixture
def app(url: str) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(url, lease="6s", poll="0.5s")
    make_effects(app)
    yield app
    app.close()


def declare(
    app: ph.Posthorse, library: Library, body: Body, *, url: str, count: int = 4, max_attempts: int = 3
) -> Callable[[], ph.Job[object]]:
    """Declare a job that writes each item once, two per slice, on the library's connection, and then runs `body`."""

    def write(ctx: ph.Context) -> None:
        library.play(scene(ctx))

    async def scene(ctx: ph.Context) -> None:
        async with library.open(url) as party:
            for batch in ctx.slices(range(count), size=2):
                with batch.transaction(party.connection) as same:
                    assert same is party.connection
                    for item in batch:
                        await party.write(item)
                        await body(ctx, party, item)

    async def awrite(ctx: ph.Context) -> None:
        async with library.open(url) as party:
            async for batch in ctx.slices(range(count), size=2):
                async with batch.transaction(party.connection) as same:
                    assert same is party.connection
                    for item in batch:
                        await party.write(item)
                        await body(ctx, party, item)

    declared = app.job(max_attempts=max_attempts, backoff=0)
    return declared(awrite).enqueue if library.is_async else declared(write).enqueue


@through()
def test_effects_and_calls_of_a_slice_happen_once_or_not_at_all(app: ph.Posthorse, library: Library, url: str) -> None:
    made: list[ph.Job[None]] = []

    @app.job(queue="unserved")
    def child(item: int) -> None: ...

    async def body(ctx: ph.Context, party: Party, item: int) -> None:
        made.append(await child.aenqueue(item) if library.is_async else child.enqueue(item))
        seen = await made[-1].astatus() if library.is_async else made[-1].status()
        assert seen.state == "pending"  # it is not visible outside yet
        if item == 3 and ctx.attempt == 1:
            raise ValueError("once bad")

    enqueue = declare(app, library, body, url=url)
    with app.worker(queues=["default"]):
        job = enqueue()
        job.result(timeout=30)
    assert effects_of(app) == [0, 1, 2, 3]
    assert job.status().attempt == 2
    assert job.status().progress.done == 4
    assert [exists(app, each) for each in made] == [True, True, False, False, True, True]


def exists(app: ph.Posthorse, job: ph.Job[None]) -> bool:
    try:
        app.get_job(job.id).status()
    except ph.JobNotFound:
        return False
    return True


@through(
    "psycopg", "asyncpg", "SQLAlchemy Session on psycopg", "SQLAlchemy AsyncSession on asyncpg", "Django on PostgreSQL"
)
def test_a_slice_whose_job_was_taken_away_meanwhile_leaves_nothing(
    app: ph.Posthorse, library: Library, url: str
) -> None:
    """On PostgreSQL, where other sessions can write while the block is open."""
    inside, go = threading.Event(), threading.Event()

    async def body(ctx: ph.Context, party: Party, item: int) -> None:
        if item == 3 and not go.is_set():
            inside.set()
            assert go.wait(30)

    enqueue = declare(app, library, body, url=url)
    with app.worker():
        job = enqueue()
        assert inside.wait(30)
        assert job.pause(force=True) == "paused"
        go.set()
    assert effects_of(app) == [0, 1]
    assert job.status().state == "paused"
    with app.worker():
        job.resume()
        job.result(timeout=30)
    assert effects_of(app) == [0, 1, 2, 3]


@through(
    "sqlite3", "SQLAlchemy Session on sqlite3", "SQLAlchemy AsyncSession on aiosqlite", "Django on SQLite", "psycopg"
)
def test_a_forced_pause_from_inside_is_undone_with_its_slice(app: ph.Posthorse, library: Library, url: str) -> None:
    lost: list[int] = []

    async def body(ctx: ph.Context, party: Party, item: int) -> None:
        if not lost:
            lost.append(item)
            job = app.get_job(ctx.job_id)
            assert await party.do(job.apause if library.is_async else job.pause) in ("paused", "processing")
            forced = job.apause(force=True) if library.is_async else job.pause(force=True)
            assert (await party.do(lambda: forced)) == "paused"

    enqueue = declare(app, library, body, url=url)
    with app.worker():
        job = enqueue()
        until(lambda: lost)
        until_state(job, "processing")
    with app.worker():
        job.result(timeout=30)
    assert effects_of(app) == [0, 1, 2, 3]


@pytest.fixture
def proxy(url: str) -> Iterator[FaultProxy]:
    port = urlsplit(url).port
    assert port is not None
    with fault_proxy(port) as proxy:
        yield proxy


def by_way_of(proxy: FaultProxy, url: str) -> str:
    return url.replace(f":{urlsplit(url).port}/", f":{proxy.port}/")


@through(
    "psycopg", "asyncpg", "SQLAlchemy Session on psycopg", "SQLAlchemy AsyncSession on asyncpg", "Django on PostgreSQL"
)
@pytest.mark.parametrize(
    ("text", "moment"),
    [("INTO effects VALUES (2)", "before"), ("checkpoints AS c", "before"), ("COMMIT", "before"), ("COMMIT", "after")],
)
def test_a_lost_connection_loses_and_repeats_nothing(
    app: ph.Posthorse, library: Library, url: str, proxy: FaultProxy, text: str, moment: Moment
) -> None:
    """Even if the commit happened and its reply was lost: the cursor was committed with the effects."""

    async def body(ctx: ph.Context, party: Party, item: int) -> None:
        if item == 1 and not proxy.cuts:
            proxy.cut(text.encode(), moment)

    enqueue = declare(app, library, body, url=by_way_of(proxy, url))
    with app.worker():
        job = enqueue()
        job.result(timeout=30)
    assert proxy.cuts == 1
    assert effects_of(app) == [0, 1, 2, 3]
    if text != "INTO effects VALUES (2)":  # its error is the user's own statement's
        assert job.status().attempt == 1


@through("sqlite3", "psycopg", "asyncpg", "SQLAlchemy Connection on psycopg2", "Django on SQLite")
def test_a_block_longer_than_a_third_of_the_lease_is_undone(library: Library, url: str) -> None:
    app = ph.Posthorse(url, lease="3s")
    make_effects(app)

    async def body(ctx: ph.Context, party: Party, item: int) -> None:
        threading.Event().wait(1.3)

    enqueue = declare(app, library, body, url=url, count=1, max_attempts=1)
    with app.worker(), pytest.raises(ph.JobFailed, match="a third of the lease"):
        enqueue().result(timeout=30)
    assert effects_of(app) == []
    app.close()


@through("sqlite3", "psycopg", "asyncpg", "SQLAlchemy Session on sqlite3", "SQLAlchemy AsyncSession on asyncpg")
def test_a_connection_inside_a_transaction_is_refused(app: ph.Posthorse, library: Library, url: str) -> None:
    refused: list[str] = []

    async def body(ctx: ph.Context, party: Party, item: int) -> None: ...

    def wary(open_before: Callable[[str], Any]) -> Callable[[str], Any]:
        @asynccontextmanager
        async def opened(url: str) -> AsyncIterator[Party]:
            async with open_before(url) as party:
                await party.do(party.begin)
                await party.write(7)
                try:
                    yield party
                except ph.InvalidOption as error:
                    refused.append(str(error))
                    await party.do(party.rollback)

        return opened

    enqueue = declare(app, replace(library, open=wary(library.open)), body, url=url, max_attempts=1)
    with app.worker():
        enqueue().result(timeout=30)
    assert "begins and ends its own" in refused[0]
    assert "commit or roll back first" in refused[0]
    assert effects_of(app) == []


@through(
    "sqlite3", "psycopg", "psycopg autocommit", "SQLAlchemy Session on psycopg", "SQLAlchemy AsyncSession on aiosqlite"
)
def test_a_body_that_ends_the_transaction_itself_is_told(app: ph.Posthorse, library: Library, url: str) -> None:
    """Otherwise cursor and effects would no longer agree."""

    async def body(ctx: ph.Context, party: Party, item: int) -> None:
        await party.do(party.commit)
        await party.write(item + 10)

    enqueue = declare(app, library, body, url=url, count=1, max_attempts=1)
    with app.worker():
        job = enqueue()
        until_state(job, "failed")
    assert job.status().progress.done == 0
    if library.name != "psycopg autocommit":  # there each statement after it stands for itself
        assert 10 not in effects_of(app)


@through("Django on SQLite")
def test_a_transaction_that_django_will_roll_back_is_no_commit(app: ph.Posthorse, library: Library, url: str) -> None:
    async def body(ctx: ph.Context, party: Party, item: int) -> None:
        import django.db.transaction

        django.db.transaction.set_rollback(True)

    enqueue = declare(app, library, body, url=url, count=1, max_attempts=1)
    with app.worker(), pytest.raises(ph.JobFailed, match="marked the transaction of this slice for rollback"):
        enqueue().result(timeout=30)
    assert effects_of(app) == []


class Base(orm.DeclarativeBase):
    pass


class Effect(Base):
    __tablename__ = "effects"
    item: orm.Mapped[int] = orm.mapped_column(primary_key=True)


@through("SQLAlchemy Session on sqlite3", "SQLAlchemy AsyncSession on asyncpg")
def test_what_a_session_has_not_flushed_is_flushed_before_the_fence(
    app: ph.Posthorse, library: Library, url: str
) -> None:
    told: list[str] = []

    async def body(ctx: ph.Context, party: Party, item: int) -> None:
        session = party.connection
        session.add(Effect(item=item + 10))
        bound = session.get_bind()
        if not told:
            told.append("BEGIN")
            sa.event.listen(bound, "before_cursor_execute", lambda *event: told.append(event[2]))

    enqueue = declare(app, library, body, url=url, count=2)
    with app.worker():
        enqueue().result(timeout=30)
    assert effects_of(app) == [0, 1, 10, 11]
    last = max(number for number, sql in enumerate(told) if "INTO effects" in sql)
    fence = max(number for number, sql in enumerate(told) if "checkpoints" in sql)
    assert last < fence
    assert all("RELEASE" in sql or "changes()" in sql for sql in told[fence + 1 :])


@through("SQLAlchemy Session on sqlite3")
def test_an_async_job_takes_a_blocking_connection_with_async_with(
    app: ph.Posthorse, library: Library, url: str
) -> None:
    engine = sa.create_engine(url)

    @app.job(max_attempts=1)
    async def write(ctx: ph.Context) -> None:
        with orm.Session(engine) as session:
            async for batch in ctx.slices(range(2)):
                with pytest.raises(RuntimeError, match="async with"), batch.transaction(session):
                    pass
                async with batch.transaction(session) as same:
                    assert same is session
                    session.execute(sa.text("INSERT INTO effects VALUES (5)"))
                    assert (await app.get_job(ctx.job_id).astatus()).state == "processing"

    with app.worker():
        write.enqueue().result(timeout=30)
    assert effects_of(app) == [5]
    engine.dispose()
