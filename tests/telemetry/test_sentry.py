"""Sentry, as its page shows it: errors of jobs arrive with their tags, from wherever the code ran, by the end of the
process.

A server on the loopback interface takes the place of Sentry, and reads its envelopes.
"""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from posthorse.store.operations.observing import places_of
from tests.project import Project
from tests.waiting import until, until_state

pytest.importorskip("sentry_sdk", reason="sentry-sdk is missing: make setup installs it")

PAGE = Path(__file__).parents[2] / "docs/sentry.md"

Sent = Mapping[str, Any]
"""An event as Sentry gets it."""


class Receiver:
    """A server that takes envelopes. While it is shut, it lets senders wait."""

    def __init__(self) -> None:
        self.events: list[Sent] = []
        self.is_open = threading.Event()
        self.is_open.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.is_open.wait(30)
                receiver.events += events_in(gzip.decompress(body) if "Content-Encoding" in self.headers else body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def dsn(self) -> str:
        return f"http://public@127.0.0.1:{self.server.server_port}/1"

    def of(self, job: str) -> list[Sent]:
        """Return the events about a job, by attempt."""
        found = [event for event in self.events if event.get("tags", {}).get("job_id") == job]
        return sorted(found, key=lambda event: str(event["tags"]["attempt"]))


def events_in(envelope: bytes) -> Iterator[Sent]:
    """Yield the events of an envelope: a header, then for each item a header with its length and its bytes."""
    _, rest = envelope.split(b"\n", 1)
    while rest:
        head, rest = rest.split(b"\n", 1)
        item = json.loads(head)
        length = item.get("length", len(rest))
        if item["type"] == "event":
            yield json.loads(rest[:length])
        rest = rest[length:].lstrip(b"\n")


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    serving = threading.Thread(target=receiver.server.serve_forever)
    serving.start()
    try:
        yield receiver
    finally:
        receiver.is_open.set()
        receiver.server.shutdown()
        receiver.server.server_close()
        serving.join()


@pytest.fixture
def receiver(project: Project) -> Iterator[Receiver]:
    """Write the program of the page, and yield what it reports to."""
    page = PAGE.read_text(encoding="utf-8")
    for code in re.findall(r"^```python\n# shop\.py\n(.*?)^```", page, re.M | re.S):
        with (project.folder / "shop.py").open("a", encoding="utf-8") as file:
            file.write("\n\n" + code.replace("sqlite:///shop.db", project.url))
    with receiving() as receiver:
        project.environment["SENTRY_DSN"] = receiver.dsn
        yield receiver


def error_of(event: Sent) -> tuple[str, str]:
    [value] = event["exception"]["values"]
    return value["type"], value["value"]


def enqueue(project: Project, kind: str) -> str:
    done = project.run("enqueue", kind, "7")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("kind", "error", "attempts"),
    [
        ("charge", ("ConnectionError", "the bank does not answer about order 7"), [1, 2]),
        ("mail", ("ValueError", "there is no user 7"), [1]),
        ("render", ("RuntimeError", "page 7 has no picture"), [1]),
    ],
)
def test_an_error_of_a_job_is_there_with_its_tags_when_its_worker_has_ended(
    project: Project, receiver: Receiver, kind: str, error: tuple[str, str], attempts: list[int]
) -> None:
    with project.working() as worker:
        job = enqueue(project, kind)
        until_state(project.client.get_job(job), "failed")
        assert worker.stop() == 0
    assert [error_of(event) for event in receiver.events] == [error] * len(attempts), "and nothing twice"
    for event, attempt in zip(receiver.of(job), attempts, strict=True):
        assert event["tags"] == {"kind": kind, "job_id": job, "attempt": attempt}
        assert event["release"] == "shop@7"


def test_what_was_not_sent_yet_is_sent_while_the_runner_ends(project: Project, receiver: Receiver) -> None:
    receiver.is_open.clear()
    with project.working() as worker:
        job = enqueue(project, "mail")
        until_state(project.client.get_job(job), "failed")
        threading.Timer(0.5, receiver.is_open.set).start()
        assert worker.stop() == 0
    assert len(receiver.of(job)) == 1


def test_a_sentry_that_does_not_answer_does_not_hold_the_end_up(project: Project, receiver: Receiver) -> None:
    receiver.is_open.clear()
    with project.working() as worker:
        until_state(project.client.get_job(enqueue(project, "mail")), "failed")
        assert worker.stop() == 0
    assert receiver.events == []


def test_scopes_of_jobs_that_run_beside_each_other_do_not_mix(project: Project, receiver: Receiver) -> None:
    project.write(
        """

        import asyncio, threading

        meeting, ameeting = threading.Barrier(2), []

        @app.job(max_attempts=1)
        def one():
            sentry_sdk.set_tag("own", "one")
            meeting.wait(30)
            raise ValueError("one")

        @app.job(max_attempts=1)
        def two():
            meeting.wait(30)
            raise ValueError("two")

        @app.job(max_attempts=1)
        async def three():
            sentry_sdk.set_tag("own", "three")
            ameeting.append(3)
            while len(ameeting) < 2:
                await asyncio.sleep(0.01)
            raise ValueError("three")

        @app.job(max_attempts=1)
        async def four():
            ameeting.append(4)
            while len(ameeting) < 2:
                await asyncio.sleep(0.01)
            raise ValueError("four")
        """,
        head=(project.folder / "shop.py").read_text(encoding="utf-8"),
    )
    with project.working() as worker:
        jobs = {kind: project.job(kind) for kind in ("one", "two", "three", "four")}
        for job in jobs.values():
            until_state(job, "failed")
        assert worker.stop() == 0
    found = {event["tags"]["kind"]: (event["tags"]["job_id"], event["tags"].get("own")) for event in receiver.events}
    owns = {"one": "one", "two": None, "three": "three", "four": None}
    assert found == {kind: (job.id, owns[kind]) for kind, job in jobs.items()}


def test_a_job_that_asks_for_another_attempt_or_stops_reports_nothing(project: Project, receiver: Receiver) -> None:
    project.write(
        """

        @app.job
        def snooze():
            raise ph.Snooze("1h")

        @app.job(max_attempts=2)
        def again():
            raise ph.Retry(after=3600)

        @app.job
        def long(ctx: ph.Context):
            for batch in ctx.slices(range(10**9), size=1):
                pass
        """,
        head=(project.folder / "shop.py").read_text(encoding="utf-8"),
    )
    with project.working() as worker:
        for kind in ("snooze", "again"):
            until_state(project.job(kind), "scheduled")
        long = project.job("long")
        until_state(long, "processing")
        long.cancel()
        until_state(long, "cancelled")
        assert worker.stop() == 0
    assert receiver.events == []


def test_the_death_of_a_process_is_reported_by_an_observer(project: Project, receiver: Receiver) -> None:
    with project.working() as worker:
        until(lambda: project.client.store.read(places_of(["observer report_deaths"])), patience=90)
        job = enqueue(project, "die")
        until_state(project.client.get_job(job), "failed", patience=90)
        until(lambda: project.client.jobs("kind:report_deaths state:completed").count() == 2, patience=90)
        assert worker.stop() == 0
    found = [event for event in receiver.events if event.get("message")]
    assert {event["tags"]["job_id"] for event in found} == {job}
    first, last = sorted(event["message"] for event in found)
    assert first.startswith("die: Crashed: crashed its process 2 times")
    assert last == "die: crashed"
