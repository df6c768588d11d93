"""Metadata: what travels with a job, who sees it, and which jobs inherit it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import posthorse as ph
from posthorse.worker.claiming.prefetch import Prefetch
from tests.waiting import until


def test_metadata_travels_with_the_job_and_is_read_and_found(app: ph.Posthorse) -> None:
    seen: list[Any] = []

    @app.around
    def note(attempt: ph.RunningAttempt) -> Iterator[None]:
        seen.append((attempt.metadata, attempt.tenant))
        yield

    @app.job
    def tell(ctx: ph.Context) -> dict[str, Any]:
        ctx.metadata["changed"] = True
        return ctx.metadata

    given = {"user": 7, "request": {"id": "r-1", "parts": [1, None, True]}}
    with app.worker():
        job = tell.using(metadata=given, tenant="acme").enqueue()
        assert job.result(timeout=30) == given
        assert tell.enqueue().result(timeout=30) == {}
    assert job.status().metadata == given
    assert seen == [(given, "acme"), ({}, None)]
    for text in ("meta.user:7", "meta.request.id:r-*", "meta.user:>6", "meta.request.parts.2:true", "-meta.user:8"):
        assert [found.id for found in app.jobs(f"{text} tenant:acme").page()] == [job.id], text
    for text in ("meta.user:8", "meta.user:<7", "meta.other:7", "args.user:7"):
        assert len(list(app.jobs(text).page())) == 0, text
    assert [found.id for found in app.jobs(meta={"user": 7}).page()] == [job.id]


def test_schedules_and_keys_carry_it(app: ph.Posthorse) -> None:
    @app.job
    def tell(ctx: ph.Context) -> dict[str, Any]:
        return {"key": ctx.key, **ctx.metadata}

    app.schedule(tell.using(metadata={"by": "clock"}).bind(), name="often", every="1s")
    with app.worker():
        until(lambda: app.jobs("schedule:often state:completed meta.by:clock").count())
        assert tell.using(key="k-1", metadata={"user": 1}).enqueue().result(timeout=30) == {"key": "k-1", "user": 1}


@pytest.mark.parametrize("is_async", [False, True])
def test_the_context_knows_its_job(app: ph.Posthorse, is_async: bool) -> None:
    def about(ctx: ph.Context) -> list[Any]:
        seconds = (datetime.now(UTC) - ctx.enqueued_at) / timedelta(seconds=1)
        return [
            ctx.kind,
            ctx.queue,
            ctx.tenant,
            list(ctx.tags),
            ctx.key,
            ctx.attempt,
            ctx.max_attempts,
            0 <= seconds < 60,
        ]

    async def aabout(ctx: ph.Context) -> list[Any]:
        return about(ctx)

    kind: Any = app.job(kind="tell", tags=["declared"])(aabout if is_async else about)
    with app.worker():
        assert kind.enqueue().result(timeout=30) == ["tell", "default", None, ["declared"], None, 1, 5, True]
        other = kind.using(queue="q", tenant="acme", tags=["a", "b"], key="k", max_attempts=2)
        assert other.enqueue().result(timeout=30) == ["tell", "q", "acme", ["a", "b"], "k", 1, 2, True]
        assert kind.using(tags=[]).enqueue().result(timeout=30)[3] == []


def test_middleware_of_enqueuing_gives_tags_and_metadata_that_the_context_sees(app: ph.Posthorse) -> None:
    @app.around_enqueue
    def correlate(jobs: Sequence[ph.Submission]) -> Iterator[Sequence[ph.Submission]]:
        yield [job.tagged("seen").with_metadata(request="r-1", user=1) for job in jobs]

    @app.job
    def tell(ctx: ph.Context) -> list[Any]:
        return [list(ctx.tags), ctx.metadata]

    with app.worker():
        job = tell.using(tags=["own"], metadata={"user": 7}).enqueue()
        assert job.result(timeout=30) == [["own", "seen"], {"user": 1, "request": "r-1"}]
        assert job.status().tags == ("own", "seen")
    [found] = app.jobs("meta.request:r-1").page()
    assert found.id == job.id


@pytest.mark.parametrize("is_async", [False, True])
def test_jobs_inherit_metadata_if_the_application_says_so(store_url: str, is_async: bool) -> None:
    app = ph.Posthorse(store_url, inherit_metadata=True)

    @app.job
    def child(ctx: ph.Context) -> dict[str, Any]:
        return ctx.metadata

    def parent() -> list[str]:
        own = child.using(metadata={"user": 8, "step": 2}, unique=ph.Unique(by=lambda: "x"))
        return [child.enqueue().id, own.enqueue().id, app.enqueue_many([child.bind()])[0].id]

    async def aparent() -> list[str]:
        own = child.using(metadata={"user": 8, "step": 2})
        many = await app.aenqueue_many([child.bind()])
        return [(await child.aenqueue()).id, (await own.aenqueue()).id, many[0].id]

    kind: ph.Kind[[], Any] = app.job(kind="parent")(aparent if is_async else parent)
    with app.worker():
        ids = kind.using(metadata={"user": 7, "request": "r"}).enqueue().result(timeout=30)
        got = [app.get_job(job_id).result(timeout=30) for job_id in ids]
        assert child.enqueue().result(timeout=30) == {}
    assert got == [
        {"user": 7, "request": "r"},
        {"user": 8, "request": "r", "step": 2},
        {"user": 7, "request": "r"},
    ]
    app.close()


@pytest.mark.parametrize("is_async", [False, True])
def test_a_job_without_metadata_inherits_none_of_the_job_before_it(
    store_url: str, is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One task of the runner waits for plain jobs of a lane that were claimed together, one after the other."""
    monkeypatch.setattr(Prefetch, "allowance", lambda _: 10)
    app = ph.Posthorse(store_url, inherit_metadata=True)

    @app.job
    def child(ctx: ph.Context) -> dict[str, Any]:
        return ctx.metadata

    def parent() -> str:
        return child.enqueue().id

    async def aparent() -> str:
        return (await child.aenqueue()).id

    kind: Any = app.job(kind="parent")(aparent if is_async else parent)
    jobs = [kind.using(metadata={"user": 7}).enqueue(), kind.enqueue(), kind.using(metadata={"user": 8}).enqueue()]
    with app.worker(concurrency=1):
        children = [app.get_job(job.result(timeout=30)) for job in jobs]
        assert [child.result(timeout=30) for child in children] == [{"user": 7}, {}, {"user": 8}]
    app.close()


def test_jobs_inherit_nothing_by_default(app: ph.Posthorse) -> None:
    @app.job
    def child(ctx: ph.Context) -> dict[str, Any]:
        return ctx.metadata

    @app.job
    def parent(ctx: ph.Context) -> list[str]:
        return [child.enqueue().id, child.using(metadata={**ctx.metadata, "step": 2}).enqueue().id]

    with app.worker():
        ids = parent.using(metadata={"user": 7}).enqueue().result(timeout=30)
        assert [app.get_job(one).result(timeout=30) for one in ids] == [{}, {"user": 7, "step": 2}]


nested: Any = []
for _ in range(100):
    nested = [nested]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (7, "give a dict"),
        ("user=7", "give a dict"),
        ({7: "user"}, "a key of metadata is 7"),
        ({"at": datetime(2026, 11, 30, tzinfo=UTC)}, "metadata\\['at'\\] is .*which JSON does not have"),
        ({"x": float("nan")}, "nan"),
        ({"x": 2**64}, "which JSON does not have"),
        ({"x": {1, 2}}, "which JSON does not have"),
        ({"x": ["\0"]}, "a database can store"),
        ({"\ud800": 1}, "a database can store"),
        ({"x": nested}, "levels deep"),
        ({"x": "y" * 4090}, "more than the 4,096"),
    ],
)
def test_what_is_not_a_small_object_is_refused(app: ph.Posthorse, given: Any, words: str) -> None:  # noqa: ANN401
    @app.job
    def tell() -> None: ...

    with pytest.raises(ph.InvalidOption, match=words):
        tell.using(metadata=given)
