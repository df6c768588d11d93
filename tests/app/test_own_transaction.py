"""Enqueuing in the user's own transaction: the job exists if and only if that is committed."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from subprocess import run as run_program
from urllib.parse import urlsplit

import apsw
import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sa_async

import posthorse as ph
from posthorse.store.connections import UserConnection
from tests.effects import effects_of, make_effects
from tests.libraries import Library, library, path_of, through
from tests.servers import MigratedDatabases
from tests.servers.proxy import Moment, fault_proxy


@pytest.fixture
def url(library: Library, request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(f"{library.store}_url")
    return found


@pytest.fixture
def shop(url: str) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(url, poll="10m")
    make_effects(app)
    yield app
    app.close()


async def enqueue(library: Library, call: ph.Call[int]) -> ph.Job[int]:
    """Enqueue as users of this library would."""
    return await call.aenqueue() if library.is_async else call.enqueue()


def exists(app: ph.Posthorse, job: ph.Job[int]) -> bool:
    try:
        app.get_job(job.id).status()
    except ph.JobNotFound:
        return False
    return True


@through()
def test_a_job_lives_and_dies_with_the_transaction(shop: ph.Posthorse, library: Library, url: str) -> None:
    @shop.job
    def double(number: int) -> int:
        return 2 * number

    async def scene() -> list[ph.Job[int]]:
        async with library.open(url) as party:
            jobs = []
            for number, end in enumerate([party.rollback, party.commit, party.commit, party.rollback]):
                await party.do(party.begin)
                await party.write(number)
                mine = double.using(connection=party.connection)
                if number == 2:
                    mine = mine.using(key="third", tags=["a", 'b"\\'], delay="1h", tenant="t%s")
                jobs.append(await enqueue(library, mine.bind(number)))
                assert jobs[-1].created
                await party.do(end)
            return jobs

    jobs = library.play(scene())
    assert [exists(shop, job) for job in jobs] == [False, True, True, False]
    assert effects_of(shop) == [1, 2]
    assert jobs[2].status().tags == ("a", 'b"\\')
    with shop.worker():
        assert jobs[1].result(timeout=30) == 2


@through()
def test_a_unique_job_with_a_key_is_found_and_replaced_within_the_transaction(
    shop: ph.Posthorse, library: Library, url: str
) -> None:
    @shop.job(unique=ph.Unique(by="number", on_conflict="reschedule"))
    def note(number: int, text: str) -> str:
        return text

    async def scene() -> list[ph.Job[str]]:
        async with library.open(url) as party:
            jobs = []
            for text, end in (("a", party.commit), ("b", party.commit), ("c", party.rollback)):
                await party.do(party.begin)
                await party.write(7)
                mine = note.using(connection=party.connection, key=ph.Key(f"k {text}", ttl="1h"), delay="1h")
                call = mine.bind(7, text)
                jobs.append(await call.aenqueue() if library.is_async else call.enqueue())
                await party.do(end)
            return jobs

    jobs = library.play(scene())
    assert len(set(jobs)) == 1
    assert [job.created for job in jobs] == [True, False, False]
    assert note.using(delay=0).enqueue(7, "d") == note.using(key="k b").enqueue(7, "b") == jobs[0]
    with shop.worker():
        assert jobs[0].result(timeout=30) == "d"


@through("psycopg", "asyncpg", "SQLAlchemy Connection on psycopg2", "Django on PostgreSQL")
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_lost_commit_leaves_an_id_to_ask_for(shop: ph.Posthorse, library: Library, url: str, moment: Moment) -> None:
    """Whether or not the commit succeeded, the job shows it, because it was committed with it."""

    @shop.job
    def double(number: int) -> int:
        return 2 * number

    port = urlsplit(url).port
    assert port is not None

    async def scene() -> ph.Job[int] | None:
        job = None
        try:
            async with library.open(url.replace(f":{port}/", f":{proxy.port}/")) as party:
                await party.do(party.begin)
                await party.write(7)
                job = await enqueue(library, double.using(connection=party.connection).bind(7))
                proxy.cut(b"COMMIT", moment)
                await party.do(party.commit)
        except Exception:  # each library has an error of its own
            return job
        return None

    with fault_proxy(port) as proxy:
        job = library.play(scene())
    assert job is not None
    assert proxy.cuts == 1
    assert exists(shop, job) == (moment == "after")
    assert effects_of(shop) == ([7] if moment == "after" else [])


@through("sqlite3", "psycopg", "asyncpg")
def test_a_waiting_worker_begins_such_a_job_soon_after_the_commit(
    shop: ph.Posthorse, library: Library, url: str
) -> None:
    @shop.job
    def double(number: int) -> int:
        return 2 * number

    async def scene() -> None:
        async with library.open(url) as party:
            await party.do(party.begin)
            job = await enqueue(library, double.using(connection=party.connection).bind(1))
            if library.store == "postgres":  # while this job is not visible, others pass it
                later = await double.aenqueue(2) if library.is_async else double.enqueue(2)
                assert await result_of(later) == 4
            await party.do(party.commit)
            assert await result_of(job) == 2

    async def result_of(job: ph.Job[int]) -> int:
        return await job.aresult(timeout=30) if library.is_async else job.result(timeout=30)

    with shop.worker():  # it looks on its own every 30 s
        library.play(scene())


@pytest.fixture
def app(store_url: str) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url)
    app.migrate()
    yield app
    app.close()


@pytest.fixture
def kind(app: ph.Posthorse) -> ph.Kind[[int], int]:
    @app.job
    def double(number: int) -> int:
        return 2 * number

    return double


def refused(kind: ph.Kind[[int], int], connection: UserConnection, *, match: str) -> None:
    with pytest.raises(ph.InvalidOption, match=match):
        kind.using(connection=connection).enqueue(1)


def test_calls_with_one_connection_are_stored_together(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url)
    app.migrate()

    @app.job
    def double(number: int) -> int:
        return 2 * number

    with closing(sqlite3.connect(path_of(sqlite_url))) as mine, closing(sqlite3.connect(":memory:")) as other:
        jobs = app.enqueue_many([double.using(connection=mine).bind(number) for number in range(3)])
        with pytest.raises(ph.InvalidOption, match="different connections"):
            app.enqueue_many([double.using(connection=mine).bind(1), double.bind(2)])
        with pytest.raises(ph.InvalidOption, match="different connections"):
            app.enqueue_many([double.using(connection=mine).bind(1), double.using(connection=other).bind(2)])
        assert not any(exists(app, job) for job in jobs)
        mine.commit()
    assert all(exists(app, job) for job in jobs)
    app.close()


def test_a_refused_key_leaves_nothing_of_its_call_in_the_transaction(
    app: ph.Posthorse, kind: ph.Kind[[int], int], store_url: str
) -> None:
    kind.using(key="taken").enqueue(1)
    held = library("sqlite3" if app.store.backend.capabilities.is_file else "psycopg")

    async def scene() -> None:
        async with held.open(store_url) as party:
            mine = kind.using(connection=party.connection)
            with pytest.raises(ph.KeyConflict):
                app.enqueue_many([mine.using(key="free").bind(1), mine.using(key="taken").bind(2)])
            await party.do(party.commit)

    held.play(scene())
    assert kind.using(key="free").enqueue(3).created


def test_sqlite_connections_that_commit_by_themselves_are_refused(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url)

    @app.job
    def double(number: int) -> int:
        return 2 * number

    app.migrate()
    path = path_of(sqlite_url)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        refused(double, connection, match="not inside a transaction")
    refused(double, connection, match="connection is closed")
    engine = sa.create_engine(sqlite_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as alchemist:
        refused(double, alchemist, match="not inside a transaction")
    refused(double, alchemist, match="connection is closed")
    refused(double, engine, match=r"engine\.begin")  # type: ignore[arg-type]  # on purpose
    with orm.Session(engine) as session:
        refused(double, session, match="not inside a transaction")
    engine.dispose()
    with closing(sqlite3.connect(":memory:")) as elsewhere:
        refused(double, elsewhere, match="database in memory")
    foreign = apsw.Connection(":memory:")
    refused(double, foreign, match="connection is of apsw")
    foreign.close()
    refused(double, "posthorse.db", match="not a connection")  # type: ignore[arg-type]  # on purpose
    app.close()


def test_a_link_to_the_file_is_the_file(sqlite_url: str, tmp_path: Path) -> None:
    app = ph.Posthorse(sqlite_url)

    @app.job
    def double(number: int) -> int:
        return 2 * number

    app.migrate()
    (tmp_path / "link.db").symlink_to(path_of(sqlite_url))
    (tmp_path / "folder").mkdir()
    with closing(sqlite3.connect(tmp_path / "folder" / ".." / "jobs.db")) as connection:
        job = double.using(connection=connection).enqueue(1)
        connection.commit()
    assert exists(app, job)
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        refused(double, connection, match=r"other\.db and the store is")
    app.close()


def test_a_transaction_that_read_before_others_wrote_is_explained(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url)

    @app.job
    def double(number: int) -> int:
        return 2 * number

    double.enqueue(1)
    with closing(sqlite3.connect(path_of(sqlite_url), isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM posthorse_jobs").fetchone()
        double.enqueue(2)
        with pytest.raises(ph.StoreError, match="BEGIN IMMEDIATE"):
            double.using(connection=connection).enqueue(3)
        connection.execute("ROLLBACK")
    app.close()


def test_a_store_without_schema_is_told_before_a_transaction_waits_for_itself(new_sqlite_url: str) -> None:
    app = ph.Posthorse(new_sqlite_url)

    @app.job
    def double(number: int) -> int:
        return 2 * number

    with closing(sqlite3.connect(path_of(new_sqlite_url))) as connection:
        connection.execute("CREATE TABLE mine (item integer)")
        connection.execute("INSERT INTO mine VALUES (1)")
        with pytest.raises(ph.SchemaMismatch, match=r"app\.migrate"):
            double.using(connection=connection).enqueue(1)
        connection.rollback()
        assert not exists(app, double.using(connection=connection).enqueue(1))
    app.close()


def test_postgres_connections_that_cannot_carry_a_job_are_refused(
    postgres_url: str, databases: MigratedDatabases, tmp_path: Path
) -> None:
    app = ph.Posthorse(postgres_url)

    @app.job
    def double(number: int) -> int:
        return 2 * number

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        refused(double, connection, match="not inside a transaction")
        with connection.transaction():
            assert double.using(connection=connection).enqueue(1).created
    refused(double, connection, match="connection is closed")
    with psycopg.connect(postgres_url) as connection:
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT 1/0")
        refused(double, connection, match="failed earlier")
        connection.rollback()
    with closing(sqlite3.connect(tmp_path / "x.db")) as file:
        refused(double, file, match="leads to SQLite and the store is PostgreSQL")
    with databases.server("18").database() as empty, psycopg.connect(empty) as connection:
        refused(double, connection, match="no schema of Posthorse")
        assert connection.execute("SELECT 1").fetchone() == (1,)  # the transaction goes on
    with databases.fresh("18") as copy, psycopg.connect(copy) as connection:
        refused(double, connection, match="a store of Posthorse, but not")
    with databases.server("18").database() as other:
        ph.Posthorse(other).migrate()
        with psycopg.connect(other) as connection:
            refused(double, connection, match="a store of Posthorse, but not")
    app.close()


def test_async_connections_want_await(postgres_url: str) -> None:
    app = ph.Posthorse(postgres_url)

    @app.job
    def double(number: int) -> int:
        return 2 * number

    async def scene() -> None:
        connection = await asyncpg.connect(postgres_url)
        mine = double.using(connection=connection)
        with pytest.raises(ph.InvalidOption, match="await …"):
            mine.enqueue(1)
        with pytest.raises(ph.InvalidOption, match="not inside a transaction"):
            await mine.aenqueue(1)
        await connection.close()
        with pytest.raises(ph.InvalidOption, match="connection is closed"):
            await mine.aenqueue(1)
        with psycopg.connect(postgres_url) as blocking:  # it runs in this very test
            assert (await double.using(connection=blocking).aenqueue(1)).created

    asyncio.run(scene())
    app.close()


def test_the_database_is_looked_at_once_for_each_connection(postgres_url: str) -> None:
    app = ph.Posthorse(postgres_url)

    @app.job
    def double(number: int) -> int:
        return 2 * number

    sent: list[str] = []
    engine = sa.create_engine(postgres_url.replace("postgresql", "postgresql+psycopg"))
    sa.event.listen(engine, "before_cursor_execute", lambda *event: sent.append(event[2]))
    for _ in range(2):
        sent.clear()
        with engine.begin() as connection:
            double.using(connection=connection).enqueue(1)
    assert len(sent) == 2  # the job, and the wake
    engine.dispose()
    app.close()


@pytest.mark.parametrize("driver", ["sqlite+aiosqlite", "postgresql+psycopg", "postgresql+asyncpg"])
@pytest.mark.parametrize("is_committed", [True, False])
def test_a_fresh_async_session_opens_its_connection(
    driver: str, is_committed: bool, request: pytest.FixtureRequest
) -> None:
    """A web framework passes such a session to a request: it has no connection before its first statement."""
    url: str = request.getfixturevalue("sqlite_url" if driver.startswith("sqlite") else "postgres_url")
    app = ph.Posthorse(url, poll="10m")
    app.migrate()

    @app.job
    def touch(number: int) -> int:
        return number

    async def use() -> ph.Job[int]:
        engine = sa_async.create_async_engine(f"{driver}{url[url.index(':') :]}")
        async with sa_async.AsyncSession(engine) as session:
            job = await touch.using(connection=session).aenqueue(4)
            await (session.commit() if is_committed else session.rollback())
        await engine.dispose()
        return job

    assert exists(app, asyncio.run(use())) is is_committed
    app.close()


def test_sqlalchemy_without_greenlet_takes_jobs_in_its_sessions(sqlite_url: str) -> None:
    """SQLAlchemy 2.1 does not install greenlet, and cannot import its asynchronous classes without it."""
    program = """
import sys
sys.modules["greenlet"] = None
import posthorse as ph, sqlalchemy as sa
from sqlalchemy import orm

app = ph.Posthorse(sys.argv[1])
app.migrate()

@app.job
def touch(number: int) -> int:
    return number

engine = sa.create_engine(sys.argv[1])
with orm.Session(engine) as session:
    job = touch.using(connection=session).enqueue(1)
    session.commit()
with engine.begin() as connection:
    other = touch.using(connection=connection).enqueue(2)
scoped = orm.scoped_session(orm.sessionmaker(engine))
third = touch.using(connection=scoped).enqueue(3)
scoped.commit()
scoped.remove()
print(*(each.status().state for each in (job, other, third)))
"""
    done = run_program([sys.executable, "-c", program, sqlite_url], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("pending pending pending\n", "")


def test_a_connection_in_pipeline_mode_is_refused_for_that_reason(postgres_url: str) -> None:
    app = ph.Posthorse(postgres_url, poll="10m")
    app.migrate()

    @app.job
    def touch(number: int) -> int:
        return number

    for autocommit in (False, True):
        with psycopg.connect(postgres_url, autocommit=autocommit) as connection, connection.transaction():
            with connection.pipeline(), pytest.raises(ph.InvalidOption, match="in pipeline mode"):
                touch.using(connection=connection).enqueue(1)
            job = touch.using(connection=connection).enqueue(2)
        assert job.status().state == "pending"
    own = psycopg.connect(postgres_url)
    with app.store.transaction(own):
        with own.pipeline(), pytest.raises(ph.InvalidOption, match="in pipeline mode"):
            touch.enqueue(1)
        job = touch.enqueue(3)
    own.close()
    assert job.status().state == "pending"
    app.close()
