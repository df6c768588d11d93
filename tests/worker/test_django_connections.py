"""Django's connections, kept for a thread, are checked around each job, as they are around each request."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from urllib.parse import urlsplit
import django
from django.conf import settings
url = urlsplit(sys.argv[1])
database = {
    "ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:], "USER": url.username, "PASSWORD": url.password,
    "HOST": url.hostname, "PORT": url.port, "CONN_MAX_AGE": None,
}
settings.configure(DATABASES={"default": database})
django.setup()
import psycopg
from asgiref.sync import sync_to_async
from django.db import connection, transaction
import posthorse as ph

app = ph.Posthorse(sys.argv[1])
app.migrate()

def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]

@app.job(max_attempts=2, backoff=0)
def ask() -> int:
    return backend()

@app.job(max_attempts=2, backoff=0)
async def aask() -> int:
    return await sync_to_async(backend)()

@app.job(max_attempts=1)
def leave_a_transaction_open() -> int:
    transaction.set_autocommit(False)
    return backend()

with app.worker(concurrency=1), psycopg.connect(sys.argv[1], autocommit=True) as other:
    for kind in (ask, aask):
        first = kind.enqueue().result(timeout=30)
        assert kind.enqueue().result(timeout=30) == first, "a connection in good health is kept"
        for _ in range(2):
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [first])
            job = kind.enqueue()
            second = job.result(timeout=30)
            assert (second != first, job.status().attempt) == (True, 2), job.status()
            first = second
        assert kind.enqueue().result(timeout=30) == first
    left = leave_a_transaction_open.enqueue().result(timeout=30)
    assert ask.enqueue().result(timeout=30) != left
print("ok")
"""


def test_a_connection_that_was_dropped_is_opened_anew(postgres_url: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, postgres_url], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.stdout == "ok\n", done.stderr


def test_what_is_not_loaded_or_configured_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = """
import sys
from posthorse.worker.running.frameworks import refresh_connections
refresh_connections()
assert "django" not in sys.modules
import django.db
refresh_connections()
print("ok")
"""
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.stdout == "ok\n", done.stderr
