"""Bad input through Python: each is one clear error, whatever the value looks like, and nothing is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import posthorse as ph

MAX_MESSAGE = 500


class Unshowable:
    """A value whose repr fails, as that of a half-made object may."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def cycle() -> list[object]:
    ring: list[object] = []
    ring.append(ring)
    return ring


HOSTILE: dict[str, object] = {
    "unshowable": Unshowable(),
    "5,000 digits": 10**5000,
    "a megabyte": "x" * 1_000_000,
    "a cycle": cycle(),
    "not a number": float("nan"),
    "bytes": b"7",
    "surrogate": "\ud800",
}
"""Values that no option takes."""


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[ph.Posthorse]:
    """Yield an application whose store must never be opened; check that at the end."""
    app = ph.Posthorse("sqlite:///untouched.db")
    yield app
    app.close()
    assert not list(tmp_path.glob("untouched.db*"))


@pytest.fixture
def add(lone: ph.Posthorse) -> ph.Kind[[int, int], int]:
    @lone.job
    async def add(a: int, b: int = 0) -> int:
        return a + b

    return add


def refused(attempt: Callable[[], object], error: type[Exception] = ph.UsageError) -> str:
    """Return the message of an attempt that must be refused; it must be readable in a log and on a terminal."""
    with pytest.raises(error) as caught:
        attempt()
    message = str(caught.value)
    assert len(message) <= MAX_MESSAGE
    assert message.isprintable()
    return message


# ── every option, every interface ────────────────────────────────────────────────────────────────────

OF_A_JOB = (
    "queue", "priority", "tags", "max_attempts", "backoff", "timeout", "expires", "delay", "run_at", "key", "tenant",
    "unique", "sequence", "block",
)  # fmt: skip
OF_A_KIND = (
    "kind", "aliases", "queue", "priority", "tags", "max_attempts", "max_crashes", "backoff", "retry_on", "give_up_on",
    "timeout", "expires", "isolation", "kill_after", "max_memory", "rate", "concurrency", "sequence", "unique",
)  # fmt: skip
OF_A_QUEUE = (
    "max_depth", "order", "weight", "max_duration", "labels", "rate", "concurrency", "window", "ageing", "fair",
    "retry_budget", "paused",
)  # fmt: skip
OF_A_SCHEDULE = ("name", "cron", "every", "at", "tz", "start", "end", "misfire", "overlap", "jitter")
SINGULAR = {"tags": "tag", "aliases": "alias", "labels": "label"}
SETTINGS = ("lease", "heartbeat", "stall", "grace", "poll", "max_interruptions")


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_every_option_names_itself_when_it_refuses_a_value(
    lone: ph.Posthorse,
    add: ph.Kind[[int, int], int],
    value: Any,  # noqa: ANN401 - that is the point
) -> None:
    async def job() -> None: ...

    def declare(**options: Any) -> None:  # noqa: ANN401 - that is the point
        lone.job(**options)(job)

    def told(attempt: Callable[..., object], **options: Any) -> str:  # noqa: ANN401 - that is the point
        return refused(lambda: attempt(**options)).lower()

    for name in OF_A_JOB:
        assert SINGULAR.get(name, name) in told(add.using, **{name: value}), name
    for name in OF_A_KIND:
        options = {"isolation": "process", name: value}
        assert SINGULAR.get(name, name) in told(declare, **options), name
    for name in OF_A_QUEUE:
        assert SINGULAR.get(name, name) in told(partial(lone.queue, "mail"), **{name: value}), name
    for name in OF_A_SCHEDULE:
        options = {"name": "n", "every": None if name in ("cron", "at") else "1h", name: value}
        assert name in told(partial(lone.schedule, add.bind(1, 2)), **options), name
    for name in SETTINGS:
        assert name in told(ph.Posthorse, **{name: value}), name
    assert list(lone.registry) == ["add"]
    assert not lone.registry.schedules


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_what_names_something_is_refused_whatever_it_is(
    lone: ph.Posthorse,
    value: Any,  # noqa: ANN401 - that is the point
) -> None:
    refused(lambda: lone.queue(value))
    refused(lambda: lone.get_job(value))
    refused(lambda: lone.jobs(value))
    refused(lambda: lone.enqueue_many([value]))
    refused(lambda: lone.schedule(value, name="s", every="1h"))
    refused(lambda: lone.worker(queues=[value]))
    refused(lambda: ph.Posthorse(value), ph.InvalidSettings)
    refused(lambda: lone.job(value))


# ── many at once ─────────────────────────────────────────────────────────────────────────────────────


def test_many_calls_come_in_a_list(lone: ph.Posthorse, add: ph.Kind[[int, int], int]) -> None:
    call = add.bind(1, 2)
    values: list[Any] = [None, 7, "calls", call, {1: call}, (each for each in [call]), iter([call])]
    for value in values:
        with pytest.raises(ph.InvalidOption, match="takes a list of calls"):
            lone.enqueue_many(value)
    mixtures: list[Any] = [[call, None], [add], [call, "add"]]
    for mixed in mixtures:
        with pytest.raises(ph.InvalidOption, match="takes calls, not"):
            lone.enqueue_many(mixed)


# ── moments and durations ────────────────────────────────────────────────────────────────────────────


class Odd(tzinfo):
    """A time zone with any offset."""

    def __init__(self, offset: timedelta | None) -> None:
        self._offset = offset

    def utcoffset(self, _: datetime | None) -> timedelta | None:
        return self._offset

    def dst(self, _: datetime | None) -> None: ...

    def tzname(self, _: datetime | None) -> None: ...


@pytest.mark.parametrize(
    ("moment", "complaint"),
    [
        (datetime(2030, 1, 1), "has no time zone"),  # noqa: DTZ001 - refused
        (datetime(2030, 1, 1, tzinfo=Odd(None)), "has no time zone"),
        (datetime(2030, 1, 1, tzinfo=Odd(timedelta(hours=25))), "a time zone that cannot be used"),
        (datetime.max.replace(tzinfo=UTC), "century|9000"),
        (datetime.min.replace(tzinfo=UTC), "before"),
        ("2026-W01-1", "give an aware datetime"),
    ],
)
def test_moments_are_judged_alike_at_every_door(
    lone: ph.Posthorse,
    add: ph.Kind[[int, int], int],
    moment: Any,  # noqa: ANN401 - that is the point
    complaint: str,
) -> None:
    with pytest.raises(ph.InvalidOption, match=complaint):
        add.using(run_at=moment)
    for name in ("at", "start", "end"):
        every = None if name == "at" else "1h"
        with pytest.raises(ph.InvalidOption, match=complaint):
            lone.schedule(add.bind(1, 2), name="s", every=every, **{name: moment})


@pytest.mark.parametrize("text", ["\u0661\u0662s", "\uff11\uff10s", "1\u00b2s", "1e3", "+1s", "0x10", "1,5s", "1h-5m"])
def test_durations_are_written_in_plain_digits(add: ph.Kind[[int, int], int], text: str) -> None:
    with pytest.raises(ph.InvalidOption, match="is not a duration"):
        add.using(delay=text)


@pytest.mark.parametrize("zone", ["localtime", "posixrules"])
def test_zone_that_is_another_on_each_machine_is_refused(
    lone: ph.Posthorse, add: ph.Kind[[int, int], int], zone: str
) -> None:
    with pytest.raises(ph.InvalidOption, match="another zone on each machine"):
        lone.schedule(add.bind(1, 2), name="s", cron="@daily", tz=zone)


# ── values that are made apart ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "parts",
    [
        {"factor": "2"},
        {"factor": None},
        {"factor": True},
        {"factor": float("inf")},
        {"jitter": "x"},
        {"jitter": None},
        {"jitter": True},
        {"waits": "12"},
        {"waits": 3},
        {"waits": None},
        {"waits": [float("inf")]},
        {"base": 10**400},
    ],
)
def test_backoff_of_the_wrong_types_is_refused(parts: dict[str, Any]) -> None:
    assert f"Backoff.{next(iter(parts))} is" in refused(lambda: ph.Backoff(**parts))


def test_limit_without_its_number_is_refused(lone: ph.Posthorse) -> None:
    told = refused(lambda: lone.queue("mail", concurrency={"limit": None}))
    assert "has no limit" in told
    assert "has no limit" in refused(lambda: lone.queue("mail", rate={"per": "tenant"}))


@pytest.mark.parametrize("answer", [cycle(), "\ud800", Unshowable(), object()], ids=["cycle", "surrogate", "odd", "o"])
def test_identity_without_a_form_in_json_is_refused(add: ph.Kind[[int, int], int], answer: object) -> None:
    unique = ph.Unique(by=lambda *_: answer)
    assert "no form in JSON" in refused(lambda: add.using(unique=unique).bind(1, 2), ph.InvalidArgument)


# ── the address of the store ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("sqlite:///:memory:", "lost with its process"),
        ("sqlite:///file::memory:", "lost with its process"),
        ("sqlite:///file:jobs.db", "names no file on a disk"),
        ("sqlite:///jobs.db?mode=memory", "takes no options"),
        ("sqlite:///a\0b", "holds a NUL"),
        ("jobs.db", "'jobs.db' is not the address"),
        ("sqlite://host/jobs.db", "'sqlite://host/jobs.db' is not the address"),
        ("sqlite+aiosqlite:///jobs.db", "without the name of a driver"),
        ("postgresql+psycopg://host/db", "without the name of a driver"),
        ("postgresql://u:p@ss/w%d@127.0.0.1/db", "%40 for an @"),
        ("postgresql://ada@host/db?schema=shop", "the option 'schema', which is not one of PostgreSQL's"),
        ("postgresql://ada@host/db?sslmode=require&pgbouncer=true", "a pooler is recognised without it"),
    ],
)
def test_address_that_means_no_store_is_refused(url: str, complaint: str) -> None:
    assert complaint in refused(lambda: ph.Posthorse(url), ph.InvalidSettings)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://ada:canary@host/db",
        "mysql://ada:canary?x@host/db",
        "mysql://host/db?password=canary",
        "mysql://host/db?password=can@ary-canary",
        "mysql://ada@host/db?user=x&password=canary",
        "host=db.internal dbname=shop user=shop password=canary",
        "canary:canary",
        "postgresql:/shop:canary@host/db",
        "postgresql//shop:canary@host/db",
        "postgresql+psycopg://shop:canary@host/db",
        "sqlite://shop:canary@host",
        "shop:canary@host/db",
        # what libpq would take for a host, a port or a database, and name in its complaints
        "postgresql://shop:a@canary@127.0.0.1:1/db",
        "postgresql://shop:a/canary@127.0.0.1:1/db",
        "postgresql://shop:1/canary@127.0.0.1:1/db",
        "postgresql://shop:canary/a@127.0.0.1:1/db",
        "postgresql://127.0.0.1:canary/db",
        "postgresql://[::1]:canary,other/db",
        "postgresql://shop:100%zcanary@127.0.0.1:1/db",
        "postgresql://shop:a/b?canary=c@127.0.0.1:1/db",
        b"postgresql://shop:canary@127.0.0.1:1/db",
    ],
)
def test_no_form_of_a_password_is_shown(url: str) -> None:
    assert "canary" not in refused(lambda: ph.Posthorse(url), ph.InvalidSettings)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://shop:canary@host/db",
        "postgres://shop:canary?x@host:5432,[::1]:5433/db",
        "postgresql:///db?host=/tmp&user=ada@server&password=canary",
        "postgresql://%2Ftmp%2Fserver/db?password=canary",
    ],
)
def test_settings_show_no_password(url: str) -> None:
    app = ph.Posthorse(url)
    assert "canary" not in f"{app.settings!r}{app.store.where}"


def test_store_stays_where_it_was_when_the_current_folder_changes(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    app = ph.Posthorse("sqlite:///jobs.db")

    @app.job
    def welcome() -> None: ...

    os.chdir(elsewhere)  # as a daemon does
    job = welcome.enqueue()
    app.close()
    os.chdir("/")
    assert job.status().state == "pending"
    app.close()
    assert (tmp_path / "jobs.db").exists()
    assert not list(elsewhere.iterdir())


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("notes", encoding="utf-8")
    app = ph.Posthorse("sqlite:///notes/deep/jobs.db")

    @app.job
    def welcome() -> None: ...

    with pytest.raises(ph.StoreUnreachable, match="cannot be made for the store: Not a directory"):
        welcome.enqueue()


# ── inside a job ─────────────────────────────────────────────────────────────────────────────────────


def test_bad_option_inside_a_job_is_an_error_of_that_job_alone(sqlite_url: str) -> None:
    app = ph.Posthorse(sqlite_url, lease="6s", poll="0.1s")

    @app.job
    def fine() -> str:
        return "fine"

    @app.job(max_attempts=2, backoff=0)
    def hasty() -> None:
        fine.using(delay=-1).enqueue()

    with app.worker():
        job = hasty.enqueue()
        with pytest.raises(ph.JobFailed, match="InvalidOption: delay is -1; it must lie between"):
            job.result(timeout=20)
        assert job.status().reason == "gave up: InvalidOption would come again: the call itself is wrong"
        assert fine.enqueue().result(timeout=20) == "fine"
    assert app.jobs("kind:fine").count() == 1
    app.close()


@pytest.mark.parametrize("queues", ["mail", 3, None, object()], ids=["a word", "3", "none", "an object"])
def test_a_worker_takes_a_list_of_queues(app: ph.Posthorse, queues: object) -> None:
    with pytest.raises(ph.InvalidOption, match="give a list of names"):
        app.worker(queues=queues)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "concurrency", [0, -1, 1.5, "ten", True, 10**5000], ids=["0", "-1", "1.5", "ten", "true", "5,000 digits"]
)
def test_a_worker_takes_a_whole_number_of_jobs_at_once(app: ph.Posthorse, concurrency: object) -> None:
    with pytest.raises(ph.InvalidOption, match="whole number from 1 to 10,000"):
        app.worker(concurrency=concurrency)  # type: ignore[arg-type]
