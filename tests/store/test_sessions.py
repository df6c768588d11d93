"""Our sessions on PostgreSQL: statements mean the same, whatever a role, a database or the environment sets."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from posthorse.errors import StoreError
from posthorse.rules.job import State
from posthorse.store.operations import read
from posthorse.store.operations.fence import Fence
from posthorse.store.postgres.backend import PostgresBackend
from posthorse.store.store import Store
from tests.servers import MigratedDatabases, PostgresServer
from tests.store.yard import HOME, Yard

HOSTILE = {
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "search_path": "nowhere",
    "statement_timeout": "200ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "200ms",
    "idle_session_timeout": "200ms",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "standard_conforming_strings": "off",
    "row_security": "off",
    "synchronous_commit": "off",
    "client_encoding": "LATIN1",
    "DateStyle": "German, DMY",
    "IntervalStyle": "iso_8601",
    "TimeZone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "plan_cache_mode": "force_custom_plan",
    "jit": "on",
}
BEHIND_A_POOLER = HOSTILE.keys() - {"idle_session_timeout"}  # it would cut the pooler's own sessions


def _make_hostile(url: str, settings: dict[str, str]) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("SET statement_timeout = 0; SET default_transaction_read_only = off")
        for name, value in settings.items():
            admin.execute(
                sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                    sql.Identifier(admin.info.dbname), sql.Identifier(name), sql.Literal(value)
                )
            )


@pytest.fixture
def hostile_url(databases: MigratedDatabases) -> Iterator[str]:
    """Yield a database in which every setting has a value that our statements are not written for."""
    with databases.fresh("18") as url:
        _make_hostile(url, HOSTILE)
        yield url


@pytest.fixture
def hostile_pooled_url(databases: MigratedDatabases) -> Iterator[str]:
    with databases.fresh("18") as url:
        _make_hostile(url, {name: HOSTILE[name] for name in BEHIND_A_POOLER})
        yield databases.pooler().url(url.rpartition("/")[2])


def _work(url: str) -> None:
    """Let several threads enqueue, claim, save, fail and complete."""
    yards = [Yard(url) for _ in range(4)]
    yards[0].store.lanes({HOME})

    def enqueue(yard: Yard) -> list[str]:
        return [id for _ in range(25) for id in yard.enqueue()]

    def work(yard: Yard) -> int:
        runner, done = yard.runner(), 0
        while claimed := yard.claim(runner, 5):
            attempts = [Fence(job.job, job.epoch, runner) for job in claimed]
            for attempt in attempts:
                assert yard.checkpoint(attempt, 1) == (1, None)
            with yard.store.transaction():
                yard.checkpoint(attempts[0], 2)
            assert yard.fail(attempts[0])
            assert yard.complete(*attempts[1:], result='"☃ € ж"') == []
            done += len(attempts[1:])
        return done

    with ThreadPoolExecutor(4) as pool:
        jobs = [id for ids in pool.map(enqueue, yards) for id in ids]
        done = sum(pool.map(work, yards))
    states = [yards[0].state(job) for job in jobs]
    assert states.count(State.COMPLETED) == done
    assert states.count(State.FAILED) == len(jobs) - done
    outcome = yards[0].store.read(read.outcome(jobs[states.index(State.COMPLETED)]))
    assert outcome is not None
    assert outcome.result == '"☃ € ж"'
    for yard in yards:
        yard.store.close()


def test_hostile_defaults_of_a_database_change_nothing(hostile_url: str) -> None:
    _work(hostile_url)


def test_hostile_defaults_change_nothing_behind_a_pooler(hostile_pooled_url: str) -> None:
    _work(hostile_pooled_url)


def test_hostile_options_in_the_address_change_nothing(postgres_url: str) -> None:
    options = " ".join(f"-c {name}={value.replace(' ', '')}" for name, value in HOSTILE.items())
    _work(f"{postgres_url}?client_encoding=LATIN1&options={quote(options)}")


def test_the_environment_changes_nothing(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
    monkeypatch.setenv("PGOPTIONS", "-c default_transaction_isolation=serializable -c default_transaction_read_only=on")
    monkeypatch.setenv("PGTZ", "Asia/Kathmandu")
    _work(postgres_url)


@pytest.mark.parametrize("name", ["_writer", "_reads._reader"])
def test_every_session_of_ours_has_our_settings(hostile_url: str, name: str) -> None:
    store = Store(hostile_url)
    assert isinstance(store.backend, PostgresBackend)
    with attrgetter(name)(store.backend) as (connection, _):
        kept = {
            setting
            for setting, value in HOSTILE.items()
            if connection.execute(f"SHOW {setting}".encode()).fetchall() == [(value,)]
        }
    assert kept <= ({"plan_cache_mode", "jit"} if name == "_reads._reader" else set())
    store.close()


@pytest.mark.parametrize(("default", "ours"), [("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")])
def test_what_is_acknowledged_is_on_the_disk(databases: MigratedDatabases, default: str, ours: str) -> None:
    """A commit that waits for more, or only for this server, goes on doing so."""
    with databases.fresh("18") as url:
        _make_hostile(url, {"synchronous_commit": default})
        store = Store(url)
        assert isinstance(store.backend, PostgresBackend)
        with store.backend._writer as (writer, _):  # pyright: ignore[reportPrivateUsage]
            assert writer.execute("SHOW synchronous_commit").fetchall() == [(ours,)]
        with store.backend.transaction(10) as (connection, _):
            assert connection.execute("SHOW synchronous_commit").fetchall() == [(ours,)]
        store.close()


def test_the_transaction_of_a_slice_is_ours_and_its_session_the_users(hostile_url: str) -> None:
    store = Store(hostile_url)
    assert isinstance(store.backend, PostgresBackend)
    with store.backend.transaction(10) as (connection, _):
        assert connection.execute("SHOW transaction_isolation").fetchall() == [("read committed",)]
        assert connection.execute("SHOW transaction_read_only").fetchall() == [("off",)]
        assert connection.execute("SHOW search_path").fetchall() == [("nowhere",)]
    store.close()


# ── encodings ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_every_text_is_refused(own_postgres: PostgresServer, encoding: str) -> None:
    own_postgres.execute(
        sql.SQL("CREATE DATABASE other ENCODING {} LOCALE 'C' TEMPLATE template0").format(sql.Literal(encoding))
    )
    store = Store(own_postgres.url("other"))
    with pytest.raises(StoreError, match=f"'other' has the encoding {encoding}.*UTF-8"):
        store.migrate()
    store.close()
