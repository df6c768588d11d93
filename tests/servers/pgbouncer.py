"""PgBouncer in transaction mode in front of a private PostgreSQL: what many applications really talk to."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.postgres import PostgresServer
from tests.servers.process import (
    ServerMissing,
    ServerProcess,
    free_port,
    give_to_server,
    private_directory,
)


class PgBouncer:
    """Where a pooler listens; every database of its server is reachable under the same name."""

    def __init__(self, port: int) -> None:
        self.port = port

    def url(self, database: str = "postgres", *, user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def is_listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def pgbouncer(server: PostgresServer, *, pool_size: int = 20) -> Iterator[PgBouncer]:
    """Run a pooler in front of `server`, with `pool_size` server connections per database."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        raise ServerMissing("PgBouncer: install Debian's pgbouncer")
    with private_directory("pgbouncer") as directory:
        pooler = PgBouncer(free_port())
        users = _write(directory / "users.txt", '"postgres" ""\n')
        configuration = _write(
            directory / "pgbouncer.ini",
            textwrap.dedent(f"""\
                [databases]
                * = host=127.0.0.1 port={server.port}
                [pgbouncer]
                listen_addr = 127.0.0.1
                listen_port = {pooler.port}
                unix_socket_dir =
                auth_type = trust
                auth_file = {users}
                pool_mode = transaction
                default_pool_size = {pool_size}
                max_client_conn = 1000
            """),
        )
        process = ServerProcess([program, str(configuration)], directory=directory)
        process.wait_until(pooler.is_listening)
        try:
            yield pooler
        finally:
            process.end(signal.SIGTERM)


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    give_to_server(path)
    return path
