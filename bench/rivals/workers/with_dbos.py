"""DBOS on PostgreSQL: workflows of a queue without limits; many are enqueued in one transaction."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions
from sqlalchemy import Engine, create_engine, text

from bench.rivals.workers.questions import BATCH, Client, store_url
from bench.rivals.workers.tally import from_environment

QUEUE = "rivals"
VERSION = "1"
POLLING = 0.1
"""In seconds; the default is 1."""

tally = from_environment()


@DBOS.workflow(name="noop")
async def noop(first: int, second: int) -> None:
    tally.note()


@DBOS.workflow(name="pickup")
async def pickup(sent: int) -> None:
    tally.note_pickup(sent)


def work() -> None:
    """Work until the process is ended."""
    config: DBOSConfig = {
        "name": "rivals",
        "system_database_url": store_url(),
        "application_version": VERSION,
        "executor_id": str(os.getpid()),  # two processes with the same id would take each other's work for lost
        "run_migrations": False,
        "log_level": "ERROR",
    }
    DBOS(config=config)
    DBOS.launch()
    DBOS.register_queue(QUEUE, polling_interval_sec=POLLING)
    threading.Event().wait()


def client() -> Client:
    """Return the client."""
    return DBOSRivalClient()


class DBOSRivalClient(Client):
    def __init__(self) -> None:
        self._client: DBOSClient
        self._engine: Engine

    def prepare(self) -> None:
        migrate = [str(Path(sys.executable).with_name("dbos")), "migrate", "--sys-db-url", store_url()]
        subprocess.run(migrate, check=True, stdout=subprocess.DEVNULL)
        self._client = DBOSClient(system_database_url=store_url())
        self._engine = create_engine(store_url().replace("postgresql:", "postgresql+psycopg:"))

    def enqueue_in_bulk(self, count: int) -> None:
        options = _options("noop")
        for first in range(0, count, BATCH):
            with self._engine.begin() as connection:
                for _ in range(min(BATCH, count - first)):
                    self._client.enqueue_in_transaction(connection, options, 1, 2)

    def enqueue_singly(self, count: int) -> None:
        options = _options("noop")
        for _ in range(count):
            self._client.enqueue(options, 1, 2)

    def enqueue_pickup(self, sent: int) -> None:
        self._client.enqueue(_options("pickup"), sent)

    def left(self) -> int:
        with self._engine.connect() as connection:
            counted = connection.execute(
                text("select count(*) from dbos.workflow_status where status in ('ENQUEUED', 'PENDING')")
            )
            return int(counted.scalar_one())


def _options(workflow: str) -> EnqueueOptions:
    return {"workflow_name": workflow, "queue_name": QUEUE, "app_version": VERSION}
