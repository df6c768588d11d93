"""A streaming standby of a private PostgreSQL server: made from it, cut off, promoted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from tests.servers import PostgresServer
from tests.servers.process import private_directory, run_as_server
from tests.waiting import until


class Standby(PostgresServer):
    """A server that follows `primary`, which does not wait for it."""

    def __init__(self, primary: PostgresServer, directory: Path) -> None:
        self._primary = primary
        super().__init__(primary.version, directory, primary._programs, True, {})

    def _create_cluster(self) -> None:
        program = str(self._programs / "pg_basebackup")
        run_as_server(
            [program, "-d", self._primary.url(), "-D", str(self._data), "-R", "-X", "stream", "-c", "fast", "--no-sync"]
        )

    def wait_until_it_has_everything(self) -> None:
        """Return once all that the primary has written so far is applied here."""
        [written] = one(self._primary.url(), "SELECT pg_current_wal_flush_lsn()::text")
        query = f"SELECT coalesce(pg_last_wal_replay_lsn() >= '{written}', false)"
        until(lambda: one(self.url(), query)[0], what="the standby to catch up")

    def stop_following(self) -> None:
        """Let it lag from now on."""
        self.execute(sql.SQL("ALTER SYSTEM SET primary_conninfo = ''"))
        self.execute(sql.SQL("SELECT pg_reload_conf()"))
        until(
            lambda: one(self.url(), "SELECT count(*) FROM pg_stat_wal_receiver")[0] == 0, what="the end of the stream"
        )

    def promote(self) -> None:
        """Make it a primary; return once it takes writes."""
        self.execute(sql.SQL("SELECT pg_promote()"))


@contextmanager
def standby_of(primary: PostgresServer) -> Iterator[Standby]:
    """Run a standby of a server."""
    with private_directory("standby") as directory:
        standby = Standby(primary, directory)
        standby.start()
        try:
            yield standby
        finally:
            standby.discard()


def one(url: str, query: str) -> tuple[object, ...]:
    """Return the only row of a query."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row
