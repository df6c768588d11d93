"""Servers for tests, benches and examples: real ones, started privately on loopback, thrown away afterwards.

    with postgres_server(version="18", fsync=True) as server:
        with server.database() as url:
            ...

What this machine lacks raises `ServerMissing`; the caller decides what that means.
"""

from tests.servers.databases import MigratedDatabases
from tests.servers.pgbouncer import PgBouncer, pgbouncer
from tests.servers.postgres import PostgresServer, postgres_server
from tests.servers.process import ServerDidNotStart, ServerMissing

__all__ = [
    "MigratedDatabases",
    "PgBouncer",
    "PostgresServer",
    "ServerDidNotStart",
    "ServerMissing",
    "pgbouncer",
    "postgres_server",
]
