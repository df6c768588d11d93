"""Migrated databases, one per test: servers start when first needed, migrations run once.

Each server has one template database in which `migrate` ran. A test gets a clone of it, or, at a tenth of the cost, a
clone that an earlier test returned and that was emptied.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from tests.servers.pgbouncer import PgBouncer, pgbouncer
from tests.servers.postgres import PostgresServer, postgres_server
from tests.servers.process import POLL_SECONDS, SHUTDOWN_SECONDS

TEMPLATE = "posthorse_template"

# TRUNCATE takes its time even for a few rows; DELETE leaves dead rows behind.
_EMPTY = """
    DO $$ DECLARE stored record; BEGIN
        SET LOCAL session_replication_role = replica;
        FOR stored IN
            SELECT oid::regclass AS name, pg_relation_size(oid) AS bytes FROM pg_class
            WHERE relnamespace = 'posthorse'::regnamespace AND relkind = 'r' AND relname <> 'meta'
                AND pg_relation_size(oid) > 0
        LOOP
            IF stored.bytes > 65536 THEN
                EXECUTE format('TRUNCATE %s CASCADE', stored.name);
            ELSE
                EXECUTE format('DELETE FROM %s', stored.name);
            END IF;
        END LOOP;
        FOR stored IN
            SELECT oid::regclass AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
        LOOP
            EXECUTE format('DROP TABLE %s CASCADE', stored.name);
        END LOOP;
        DELETE FROM posthorse.meta WHERE name = 'queues';
        PERFORM setval(seqrelid, seqstart, false) FROM pg_sequence;
    END $$
"""
_END_THE_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
# What a test may have changed besides rows; its own tables were dropped. Lower ids belong to the server.
_SHAPE = """
    SELECT
        (SELECT string_agg(concat_ws(' ', relname, relkind, relnatts, relacl, reloptions), ',' ORDER BY oid)
            FROM pg_class WHERE oid >= 16384),
        (SELECT string_agg(concat_ws(' ', nspname, nspacl), ',' ORDER BY oid)
            FROM pg_namespace WHERE nspname !~ '^pg_t'),
        (SELECT count(*) FROM pg_proc WHERE oid >= 16384), (SELECT count(*) FROM pg_constraint WHERE oid >= 16384),
        (SELECT count(*) FROM pg_trigger), (SELECT count(*) FROM pg_extension),
        (SELECT count(*) FROM pg_db_role_setting),
        (SELECT string_agg(concat_ws(' ', name, value), ',' ORDER BY name) FROM posthorse.meta)
"""


class MigratedDatabases:
    """The shared servers of one test run; closing it ends them all."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._servers: dict[str, PostgresServer] = {}
        self._spare: dict[str, list[_Clone]] = {}
        self._shapes: dict[str, object] = {}
        self._pooler: PgBouncer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for clone in itertools.chain(*self._spare.values()):
            clone.close()
        self._open.close()

    def server(self, version: str) -> PostgresServer:
        """Return the shared server of a major version; the first call starts it."""
        if version not in self._servers:
            self._servers[version] = self._open.enter_context(postgres_server(version))
        return self._servers[version]

    def pooler(self) -> PgBouncer:
        """Return the shared PgBouncer in front of PostgreSQL 18; the first call starts it."""
        if self._pooler is None:
            self._pooler = self._open.enter_context(pgbouncer(self.server("18")))
        return self._pooler

    @contextmanager
    def fresh(self, version: str) -> Iterator[str]:
        """Yield the URL of a new, migrated database on the shared server of a major version."""
        with self._migrated_server(version).database(template=TEMPLATE) as url:
            yield url

    @contextmanager
    def empty(self, version: str) -> Iterator[str]:
        """Yield the URL of a migrated database without rows, which another test may have used before."""
        server = self._migrated_server(version)
        spare = self._spare.setdefault(version, [])
        clone = spare.pop() if spare else _Clone(server.create(template=TEMPLATE))
        yield clone.url
        if clone.empty() == self._shapes[version]:
            spare.append(clone)
        else:
            clone.close()
            server.drop(clone.url)

    def _migrated_server(self, version: str) -> PostgresServer:
        server = self.server(version)
        if version not in self._shapes:
            _migrate_template(server)
            with server.database(template=TEMPLATE) as url:
                new = _Clone(url)
                self._shapes[version] = new.empty()
                new.close()
        return server


class _Clone:
    """A database that tests use one after the other. Its connection stays open, because it has cached the catalog."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection: psycopg.Connection | None = None

    def empty(self) -> object:
        """Remove what a test wrote, once no other session is connected; return the shape of the database then."""
        try:
            return self._emptied_by(self._connected())
        except psycopg.OperationalError:  # a test that ended all connections ended this one, too
            self.close()
            return self._emptied_by(self._connected())

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            self._connection = psycopg.connect(self.url, autocommit=True)
        return self._connection

    def _emptied_by(self, connection: psycopg.Connection) -> object:
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        while connection.execute(_END_THE_OTHERS).fetchone():
            if time.monotonic() > deadline:
                return None
            time.sleep(POLL_SECONDS)
        try:
            connection.execute(_EMPTY)
            return connection.execute(_SHAPE).fetchone()
        except psycopg.ProgrammingError:  # not even the tables exist
            return None


def _migrate_template(server: PostgresServer) -> None:
    import posthorse  # here, so that a broken package fails tests and never their collection

    name = sql.Identifier(TEMPLATE)
    server.execute(sql.SQL("CREATE DATABASE {}").format(name))
    posthorse.Posthorse(server.url(TEMPLATE)).migrate()
    # A template can be copied only while it has no connections, and a store may keep some.
    server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
    server.execute(
        sql.SQL("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = {}").format(
            sql.Literal(TEMPLATE)
        )
    )
