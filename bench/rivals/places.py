"""The places of the rivals' jobs: fresh databases of the same PostgreSQL as ours, a private Valkey, a folder for
SQLite.

PostgreSQL syncs every commit. Valkey appends to its file and syncs that once a second, as the systems that build on
Redis advise; `appendfsync` can be set otherwise.
"""

from __future__ import annotations

import shutil
import signal
import socket
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg

from bench.rivals.environments import Home
from bench.stores import MeasuredStore
from tests.servers.process import ServerProcess, free_port, give_to_server, private_directory

PROGRAM = "valkey-server"


class FreshPlaces(ABC):
    """Places of one kind."""

    @abstractmethod
    def fresh(self) -> AbstractContextManager[str]:
        """Yield the URL of an empty place, which is removed after the block."""

    @abstractmethod
    def settle(self, url: str) -> None:
        """Do what an administrator would do after so many inserts."""


class PostgresPlaces(FreshPlaces):
    """Databases of our own server."""

    def __init__(self, store: MeasuredStore) -> None:
        self._store = store

    def fresh(self) -> AbstractContextManager[str]:
        return self._store.fresh()

    def settle(self, url: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("vacuum analyze")


class SqlitePlaces(FreshPlaces):
    """Files in the folder of our own."""

    def __init__(self, store: MeasuredStore) -> None:
        self._folder = store.folder

    @contextmanager
    def fresh(self) -> Iterator[str]:
        file = self._folder / f"rival-{uuid.uuid4().hex[:12]}.db"
        try:
            yield f"sqlite:///{file}"
        finally:
            for left in self._folder.glob(f"{file.name}*"):
                left.unlink()

    def settle(self, url: str) -> None:
        """Do nothing, as with ours."""


class RedisPlaces(FreshPlaces):
    """One server, emptied each time."""

    def __init__(self, port: int) -> None:
        self._port = port

    @contextmanager
    def fresh(self) -> Iterator[str]:
        self.ask("FLUSHALL")
        yield f"redis://127.0.0.1:{self._port}/0"

    def settle(self, url: str) -> None:
        """Do nothing."""

    def version(self) -> str:
        """Return the version that the server reports."""
        told = self.ask("INFO server").splitlines()
        return next(
            (f"Valkey {line.partition(':')[2]}" for line in told if line.startswith("valkey_version:")), "Valkey"
        )

    def ask(self, command: str) -> str:
        """Return the server's reply. Raises OSError."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=10) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(65_536).decode(errors="replace")

    def answers(self) -> bool:
        """Return True once it accepts commands."""
        try:
            return self.ask("PING").startswith("+PONG")
        except OSError:
            return False


@contextmanager
def redis_places(home: Home, *, appendfsync: str) -> Iterator[RedisPlaces]:
    """Start a server on a free port of loopback. Raises ServerDidNotStart, FileNotFoundError."""
    with private_directory("valkey") as directory:
        program = directory / PROGRAM  # the server's account may not have access to the environment
        shutil.copy(_program(home), program)
        give_to_server(program)
        port = free_port()
        settings = {
            "port": str(port),
            "bind": "127.0.0.1",
            "dir": str(directory),
            "save": "",
            "appendonly": "yes",
            "appendfsync": appendfsync,
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        process = ServerProcess([str(program), *words], directory=directory)
        places = RedisPlaces(port)
        process.wait_until(places.answers)
        try:
            yield places
        finally:
            process.end(signal.SIGTERM)


def _program(home: Home) -> Path:
    for program in home.folder.rglob(PROGRAM):
        return program
    raise FileNotFoundError(f"{home.folder} has no {PROGRAM} for this machine")
