"""Migrated databases, one per test, at the price of a copy: servers start at first need, migrations run once.

Each server keeps one template database in which `migrate` ran; a test gets a clone of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

from psycopg import sql

from tests.servers.pgbouncer import PgBouncer, pgbouncer
from tests.servers.postgres import PostgresServer, postgres_server

TEMPLATE = "posthorse_template"


class MigratedDatabases:
    """The shared servers of one test run; closing it ends them all."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._servers: dict[str, PostgresServer] = {}
        self._migrated: set[str] = set()
        self._pooler: PgBouncer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def server(self, version: str) -> PostgresServer:
        """The shared server of a major version, started at the first call."""
        if version not in self._servers:
            self._servers[version] = self._open.enter_context(postgres_server(version))
        return self._servers[version]

    def pooler(self) -> PgBouncer:
        """The shared PgBouncer before PostgreSQL 18, started at the first call."""
        if self._pooler is None:
            self._pooler = self._open.enter_context(pgbouncer(self.server("18")))
        return self._pooler

    @contextmanager
    def fresh(self, version: str) -> Iterator[str]:
        """The URL of a new, migrated database on the shared server of a major version."""
        server = self.server(version)
        if version not in self._migrated:
            _migrate_template(server)
            self._migrated.add(version)
        with server.database(template=TEMPLATE) as url:
            yield url


def _migrate_template(server: PostgresServer) -> None:
    import posthorse  # here, so that a broken package fails tests and never their collection

    name = sql.Identifier(TEMPLATE)
    server.execute(sql.SQL("CREATE DATABASE {}").format(name))
    posthorse.Posthorse(server.url(TEMPLATE)).migrate()
    # A template can be copied only while nobody is connected to it, and a store may keep connections.
    server.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
    server.execute(
        sql.SQL("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = {}").format(
            sql.Literal(TEMPLATE)
        )
    )
