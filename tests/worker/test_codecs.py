"""Codecs: each text of a job is packed in the store and plain for its readers, through the whole life of the job."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

import posthorse as ph
from tests.waiting import until, until_state
from tests.worker import packed_jobs as jobs
from tests.worker.packed_jobs import MARKER, Hiding

Row = Mapping[str, object]


@pytest.fixture
def app(store_url: str) -> Iterator[ph.Posthorse]:
    jobs.app.use_url(store_url)
    jobs.app.migrate()
    yield jobs.app
    jobs.app.close()


def tables_of(app: ph.Posthorse) -> dict[str, list[Row]]:
    """Return everything that the store holds, by table."""
    with app.store.transaction() as open_connection:
        connection = cast("Any", open_connection)
        if app.settings.url.startswith("sqlite"):
            names = connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            ).fetchall()
            prefix = "posthorse_"
        else:
            names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'posthorse'").fetchall()
            prefix = "posthorse."
        found: dict[str, list[Row]] = {}
        for (name,) in names:
            table = name if name.startswith(prefix) else prefix + name
            cursor = connection.execute(f"SELECT * FROM {table}")
            columns = [column[0] for column in cursor.description]
            found[name.removeprefix(prefix)] = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    return found


def row_of(app: ph.Posthorse, job: ph.Job[object]) -> Row:
    return next(row for row in tables_of(app)["jobs"] if str(row["id"]) == job.id)


def is_packed(text: object) -> bool:
    return isinstance(text, str) and text.startswith("~z:")


def hides_the_marker(app: ph.Posthorse) -> bool:
    return MARKER not in repr(tables_of(app))


# ── arguments and results ────────────────────────────────────────────────────────────────────────────


def each_way_to_enqueue(app: ph.Posthorse) -> list[ph.Job[str]]:
    async def awaited() -> ph.Job[str]:
        return await jobs.aecho.aenqueue(MARKER)

    with app.store.transaction():
        joined = jobs.echo.enqueue(MARKER)
    return [
        jobs.echo.enqueue(MARKER),
        asyncio.run(awaited()),
        *app.enqueue_many([jobs.echo.bind(MARKER), jobs.aecho.using(tenant="acme").bind(MARKER)]),
        joined,
        jobs.echo.using(key="one", tenant="acme").enqueue(MARKER),
        jobs.echo.using(delay="10ms").enqueue(MARKER),
        jobs.echo_apart.using(tenant="acme").enqueue(MARKER),
        jobs.echo.enqueue(MARKER + "x" * 20_000 + MARKER),
    ]


def test_arguments_and_results_are_packed_however_a_job_is_enqueued(app: ph.Posthorse) -> None:
    entered = each_way_to_enqueue(app)
    before = [row_of(app, job) for job in entered]
    with app.worker():
        results = [job.result(timeout=30) for job in entered]
    assert all(result.startswith(MARKER) and result.endswith("came back") for result in results)
    assert all(is_packed(row["arguments"]) for row in before)
    assert all(is_packed(row_of(app, job)["result"]) for job in entered)
    assert hides_the_marker(app)


def test_what_a_job_logs_is_packed(app: ph.Posthorse) -> None:
    entered = [jobs.tell.enqueue(MARKER), jobs.tell.using(tenant="acme").enqueue(MARKER)]
    with app.worker():
        for job in entered:
            job.result(timeout=30)
    assert all(is_packed(row["lines"]) for row in tables_of(app)["logs"])
    assert hides_the_marker(app)
    for job in entered:
        [line] = job.logs()
        assert (line.message, line.fields) == (f"about {MARKER}", {"text": MARKER})


def test_a_key_is_compared_by_the_plain_arguments(app: ph.Posthorse) -> None:
    first = jobs.echo.using(key="k").enqueue(MARKER)
    again = jobs.echo.using(key="k").enqueue(MARKER)
    assert (again.id, again.created) == (first.id, False)
    with pytest.raises(ph.KeyConflict):
        jobs.echo.using(key="k").enqueue("other")
    assert hides_the_marker(app)


def test_a_unique_job_is_replaced_by_arguments_that_are_packed_for_it(app: ph.Posthorse) -> None:
    first = jobs.latest_of.using(tenant="acme").enqueue("a", "old")
    second = jobs.latest_of.using(tenant="acme").enqueue("a", MARKER)
    assert (second.id, second.created) == (first.id, False)
    both = app.enqueue_many([jobs.latest_of.bind("b", "old"), jobs.latest_of.bind("b", MARKER)])
    with app.worker():
        assert [first.result(timeout=30), both[0].result(timeout=30)] == [MARKER, MARKER]
    assert hides_the_marker(app)


def test_the_identity_of_a_retried_job_is_that_of_its_plain_arguments(app: ph.Posthorse) -> None:
    gone = jobs.latest.enqueue(MARKER)
    gone.cancel()
    equal = jobs.latest.enqueue(MARKER)
    assert equal.created
    with pytest.raises(ph.InvalidTransition, match="is unique"):
        gone.retry()
    equal.cancel()
    assert gone.retry() == "pending"
    assert app.jobs("state:cancelled").retry() == 0, "the other one is not retried beside it"


def test_a_limit_depends_on_the_plain_arguments(app: ph.Posthorse) -> None:
    """The partition key is in the name of a gate, which is readable."""
    several = app.enqueue_many([jobs.one_by_one.bind(text) for text in ("a", "a", "b")])
    with app.worker():
        assert [job.result(timeout=30) for job in several] == ["a", "a", "b"]
    gates = [cast("str", row["key"]) for row in tables_of(app)["gates"]]
    assert sorted(json.loads(gate)[-1] for gate in gates) == ["a", "b"]


def test_jobs_of_schedules_and_observers_are_packed(app: ph.Posthorse) -> None:
    told: list[str] = []
    name = f"every-{id(told)}"
    scheduled = app.schedule(jobs.echo.bind("of a schedule"), name=name, every="1s")

    @app.on(ph.events.DeadLettersGrew, by=1, within="3s", queue="broken", name=f"observe-{id(told)}")
    def observe(event: ph.events.DeadLettersGrew) -> None:
        told.extend(event.errors)

    try:
        triggered = scheduled.trigger()
        with app.worker():
            assert triggered.result(timeout=30) == "of a schedule came back"
            dead = jobs.fail.enqueue(MARKER)
            until(lambda: told, what="the observer is told")
            until(lambda: len([r for r in rows(app) if r["options"] and name in cast("str", r["options"])]) > 1)
        assert told == ["ValueError"]
        assert all(is_packed(row["arguments"]) for row in rows(app))
        assert dead.status().error is not None
    finally:
        del app.registry.schedules[name]
        del app.registry.observers[f"observe-{id(told)}"]
    assert hides_the_marker(app)


def rows(app: ph.Posthorse) -> list[Row]:
    return tables_of(app)["jobs"]


# ── errors and retries ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [jobs.fail, jobs.fail_apart])
def test_an_error_keeps_its_class_readable_and_nothing_else(app: ph.Posthorse, kind: ph.Kind[[str], object]) -> None:
    job = kind.using(tenant="acme").enqueue(MARKER)
    with app.worker(), pytest.raises(ph.JobFailed, match=MARKER):
        job.result(timeout=30)
    stored = json.loads(cast("str", row_of(app, job)["error"]))
    assert (stored["type"], stored["message"]) == ("ValueError", "")
    assert is_packed(stored["packed"])
    status, [attempt] = job.status(), job.attempts()
    assert status.error is not None
    assert attempt.error == status.error
    assert MARKER in status.error.message
    assert MARKER in (status.error.traceback or "")
    assert app.jobs("error:ValueError").count() == 1
    assert app.jobs("error:KeyError").count() == 0
    assert hides_the_marker(app)


def test_a_retry_with_other_arguments_opens_and_packs_them(app: ph.Posthorse) -> None:
    job = jobs.fail.using(tenant="acme").enqueue(MARKER)
    with app.worker():
        until_state(job, "failed")
        job.retry(arguments={"text": "right"})
        assert job.result(timeout=30) == "right"
    assert is_packed(row_of(app, job)["arguments"])
    before = json.loads(
        next(cast("str", row["detail"]) for row in tables_of(app)["events"] if row["name"] == "retried")
    )
    assert is_packed(before["before"])
    again = jobs.fail.enqueue(MARKER)
    with app.worker():
        until_state(again, "failed")
        again.retry_with("right as well")
        assert again.result(timeout=30) == "right as well"
    assert hides_the_marker(app)


class Broken(Hiding):
    """A codec that packs only arguments."""

    def pack(self, text: str, about: ph.About) -> str:
        if about.what == "arguments":
            return super().pack(text, about)
        raise OSError(text)


def test_an_error_that_cannot_be_packed_is_not_stored_openly(store_url: str) -> None:
    with closing(ph.Posthorse(store_url, lease="6s", codecs=[Broken()])) as app:
        kind = app.job(max_attempts=1)(fails_or_returns)
        with app.worker():
            failing, returning = kind.enqueue(MARKER, True), kind.enqueue(MARKER, False)
            for job in failing, returning:
                until_state(job, "failed")
        error = failing.status().error
        assert error == ph.JobError(type="ValueError", message="(its message is not stored: a codec raised OSError)")
        assert hides_the_marker(app)


def fails_or_returns(text: str, fails: bool) -> str:
    if fails:
        raise ValueError(text)
    return text


# ── long jobs ────────────────────────────────────────────────────────────────────────────────────────


def test_cursors_kept_values_notes_and_bad_items_are_packed_and_survive(app: ph.Posthorse) -> None:
    job = jobs.long.using(tenant="acme").enqueue(MARKER, True)
    with app.worker():
        until(lambda: job.status().progress.note == "~" + MARKER, what="the note is stored")
        seen = job.result(timeout=30)
    assert seen == [f"{MARKER} {number}" for number in (0, 2, 3, 4, 5)]
    [failed, completed] = job.attempts()
    assert (failed.outcome, completed.outcome) == ("failed", "completed")
    [checkpoint] = tables_of(app)["checkpoints"]
    assert is_packed(checkpoint["kept"])
    assert is_packed(checkpoint["note"])
    assert is_packed(json.loads(cast("str", checkpoint["cursors"]))["items"]["cursor"]["~"])
    [row] = tables_of(app)["bad_items"]
    assert row["type"] == "KeyError"
    assert all(is_packed(row[column]) for column in ("item", "message", "traceback"))
    [bad] = job.bad_items()
    assert (bad.item, bad.is_retryable) == (f"{MARKER} 1", True)
    assert MARKER in bad.error.message
    assert hides_the_marker(app)


def test_bad_items_are_retried_as_they_were(app: ph.Posthorse) -> None:
    job = jobs.long.enqueue(MARKER, True)
    with app.worker():
        job.result(timeout=30)
        job.retry_bad_items()
        job.result(timeout=30)
        assert [bad.item for bad in job.bad_items()] == [f"{MARKER} 1"]
    assert hides_the_marker(app)


# ── texts that do not open ───────────────────────────────────────────────────────────────────────────


def test_a_job_waits_for_a_worker_that_has_the_codec(store_url: str) -> None:
    with closing(ph.Posthorse(store_url, codecs=[Hiding()])) as knowing, closing(ph.Posthorse(store_url)) as lacking:
        job = knowing.job(echo).enqueue(MARKER)
        lacking.job(echo)
        with lacking.worker():
            status = until_state(job, "blocked")
        assert "was packed by a codec 'z', which this application does not have" in (status.reason or "")
        job.cancel()
        with pytest.raises(ph.CodecError, match="codec 'z'"):
            lacking.get_job(job.id).retry(arguments={"text": "other"})
        job.retry()
        with knowing.worker():
            assert job.result(timeout=30) == MARKER
        with pytest.raises(ph.CodecError, match=r"codecs=\[…\]"):
            lacking.get_job(job.id).result(timeout=1)
        assert lacking.get_job(job.id).status().state == "completed"


def echo(text: str) -> str:
    return text


class Strict(Hiding):
    """A codec that opens nothing."""

    def unpack(self, packed: str, about: ph.About) -> str:
        raise PermissionError("no key")


def test_an_error_and_a_note_that_do_not_open_do_not_hide_the_rest(app: ph.Posthorse, store_url: str) -> None:
    failed = jobs.fail.enqueue(MARKER)
    bad = jobs.long.enqueue(MARKER, True)
    with app.worker():
        until_state(failed, "failed")
        bad.result(timeout=30)
    with closing(ph.Posthorse(store_url, codecs=[Strict()])) as strict:
        status, [attempt] = strict.get_job(failed.id).status(), strict.get_job(failed.id).attempts()
        assert status.error is not None
        assert status.error.type == "ValueError"
        assert "could not unpack" in status.error.message
        assert "(PermissionError)" in status.error.message
        assert attempt.error == status.error
        assert "could not unpack" in (strict.get_job(bad.id).status().progress.note or "")
        with pytest.raises(ph.CodecError, match="could not unpack") as caught:
            strict.get_job(bad.id).bad_items()
        assert isinstance(caught.value.__cause__, PermissionError)


def test_arguments_that_do_not_fit_are_not_quoted_in_the_reason(app: ph.Posthorse, store_url: str) -> None:
    job = jobs.echo.enqueue(MARKER)
    with closing(ph.Posthorse(store_url, codecs=[Hiding()])) as newer:

        @newer.job(kind="echo")
        def takes_a_class(text: Suspicious) -> None: ...

        with newer.worker():
            status = until_state(job, "blocked")
    assert "they are packed" in (status.reason or "")
    assert hides_the_marker(app)


class Suspicious:
    pass


# ── mixed ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_store_with_plain_rows_goes_on_when_a_codec_is_added(store_url: str) -> None:
    with closing(ph.Posthorse(store_url)) as plain, closing(ph.Posthorse(store_url, codecs=[Hiding()])) as packing:
        old = plain.job(max_attempts=2, backoff=0, kind="long")(jobs.long.__wrapped__).enqueue("old", True)
        done = plain.job(echo).enqueue("done before")
        with plain.worker():
            until_state(old, "completed")
            done.result(timeout=30)
        packing.job(max_attempts=2, backoff=0, kind="long")(jobs.long.__wrapped__)
        packing.job(echo)
        waiting = plain.job(kind="echo2")(echo).using(tenant="acme").enqueue("enqueued before")
        packing.job(kind="echo2")(echo)
        with packing.worker():
            assert waiting.id == packing.get_job(waiting.id).id
            assert packing.get_job(waiting.id).result(timeout=30) == "enqueued before"
            assert packing.get_job(done.id).result(timeout=30) == "done before"
            assert [bad.item for bad in packing.get_job(old.id).bad_items()] == ["old 1"]
            packing.get_job(old.id).retry_bad_items()
            packing.get_job(old.id).result(timeout=30)
        assert is_packed(row_of(packing, waiting)["result"])
        assert not is_packed(row_of(packing, waiting)["arguments"])


def test_a_codec_that_packs_no_more_still_opens_what_it_packed(store_url: str) -> None:
    class Leaving(Hiding):
        def pack(self, text: str, about: ph.About) -> None:  # type: ignore[override]  # as the protocol allows
            return None

    with closing(ph.Posthorse(store_url, codecs=[Hiding()])) as before:
        old = before.job(echo).using(tenant="acme").enqueue(MARKER)
    with closing(ph.Posthorse(store_url, codecs=[Leaving()])) as after:
        new = after.job(echo).enqueue("new")
        with after.worker():
            assert [after.get_job(job.id).result(timeout=30) for job in (old, new)] == [MARKER, "new"]
        assert [is_packed(row_of(after, job)["arguments"]) for job in (old, new)] == [True, False]
        assert not any(is_packed(row["result"]) for row in tables_of(after)["jobs"])


def test_texts_pass_all_codecs_in_their_order(sqlite_url: str) -> None:
    class Shouting:
        mark = "up"

        def pack(self, text: str, about: ph.About) -> str:
            return text.swapcase()

        def unpack(self, packed: str, about: ph.About) -> str:
            return packed.swapcase()

    with closing(ph.Posthorse(sqlite_url, codecs=[Shouting(), Hiding()])) as app:
        job = app.job(echo).enqueue(MARKER)
        assert is_packed(row_of(app, job)["arguments"])
        with app.worker():
            assert job.result(timeout=30) == MARKER
    with closing(ph.Posthorse(sqlite_url, codecs=[Hiding(), Shouting()])) as app:
        assert app.get_job(job.id).result(timeout=1) == MARKER


# ── declaring ────────────────────────────────────────────────────────────────────────────────────────


class Unmarked(Hiding):
    mark = "Not a mark"


@pytest.mark.parametrize(
    ("codecs", "told"),
    [
        ([Hiding(), Hiding()], "same mark"),
        ([Unmarked()], "lower-case letters"),
        ([object()], "is not a codec"),
        (Hiding(), "give a list"),
    ],
)
def test_codecs_that_cannot_work_are_refused(tmp_path: Path, codecs: list[ph.Codec], told: str) -> None:
    with pytest.raises(ph.InvalidOption, match=told):
        ph.Posthorse(f"sqlite:///{tmp_path}/jobs.db", codecs=codecs)


@pytest.mark.parametrize("packed", [7, "half of \ud83d", "a \0"])
def test_what_a_database_cannot_store_is_refused(sqlite_url: str, packed: object) -> None:
    class Odd(Hiding):
        def pack(self, text: str, about: ph.About) -> str:
            return cast("str", packed)

    with closing(ph.Posthorse(sqlite_url, codecs=[Odd()])) as app, pytest.raises(ph.CodecError, match="can store"):
        app.job(echo).enqueue(MARKER)
