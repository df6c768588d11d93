"""Middleware of a kind: around its jobs alone, and around calls that enqueue them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

import posthorse as ph


def test_a_kind_has_middleware_of_its_own_inside_that_of_the_application(app: ph.Posthorse) -> None:
    steps: list[str] = []

    @app.job
    def mail() -> None:
        steps.append("mail")

    @app.job
    async def fax() -> None:
        steps.append("fax")

    @mail.around
    def own(attempt: ph.RunningAttempt) -> Iterator[None]:
        steps.append(f"around {attempt.kind}")
        yield
        steps.append("left")

    @fax.around
    async def own_async(attempt: ph.RunningAttempt) -> AsyncIterator[None]:
        await asyncio.sleep(0)
        steps.append(f"async around {attempt.kind}")
        yield

    @app.around
    def outer(attempt: ph.RunningAttempt) -> Iterator[None]:
        steps.append("outer")
        yield

    @app.job
    def other() -> None:
        steps.append("other")

    with app.worker(concurrency=1):
        for kind in (mail, fax, other):
            kind.enqueue().result(timeout=30)
    assert steps == ["outer", "around mail", "mail", "left", "outer", "async around fax", "fax", "outer", "other"]


def test_a_kind_has_middleware_around_enqueuing_that_receives_its_jobs_alone(app: ph.Posthorse) -> None:
    seen: list[list[str]] = []

    @app.job
    def mail(user: int) -> None: ...

    @app.job
    def fax(user: int) -> None: ...

    @mail.around_enqueue
    def stamp(jobs: Sequence[ph.Submission]) -> Iterator[Sequence[ph.Submission]]:
        seen.append([job.kind for job in jobs])
        yield [job.tagged("stamped").with_metadata(place=place) for place, job in enumerate(jobs)]

    assert fax.enqueue(1).status().tags == ()
    assert seen == []
    status = mail.enqueue(1).status()
    assert (status.tags, status.metadata) == (("stamped",), {"place": 0})
    jobs = app.enqueue_many([mail.bind(1), fax.bind(2), mail.bind(3)])
    assert [job.status().tags for job in jobs] == [("stamped",), (), ("stamped",)]
    assert [job.status().metadata for job in jobs] == [{"place": 0}, {}, {"place": 1}]
    assert seen == [["mail"], ["mail", "mail"]]
    assert list(app.enqueue_many([])) == []
    assert len(seen) == 2


def test_middleware_of_a_kind_may_refuse_the_whole_call(app: ph.Posthorse) -> None:
    @app.job
    def mail(user: int) -> None: ...

    @app.job
    def fax(user: int) -> None: ...

    @mail.around_enqueue
    def refuse(jobs: Sequence[ph.Submission]) -> Iterator[None]:
        if jobs:
            raise PermissionError("no mail today")
        yield

    with pytest.raises(PermissionError):
        app.enqueue_many([fax.bind(1), mail.bind(2)])
    assert app.jobs("").count() == 0


def test_middleware_of_a_function_of_a_bundle_goes_with_it_to_each_application(store_url: str) -> None:
    bundle = ph.Bundle()
    seen: list[str] = []

    @bundle.job
    def mail() -> None: ...

    @mail.around
    def early(attempt: ph.RunningAttempt) -> Iterator[None]:
        seen.append(f"early {attempt.kind}")
        yield

    first, second = ph.Posthorse(store_url), ph.Posthorse(store_url)
    first.include(bundle)

    @mail.around
    def late(attempt: ph.RunningAttempt) -> Iterator[None]:
        seen.append(f"late {attempt.kind}")
        yield

    @mail.around_enqueue
    def stamp(jobs: Sequence[ph.Submission]) -> Iterator[Sequence[ph.Submission]]:
        yield [job.tagged("stamped") for job in jobs]

    second.include(bundle, prefix="my-")
    for app, name in ((first, "mail"), (second, "my-mail")):
        seen.clear()
        with app.worker():
            job = app.kind(mail).enqueue()
            job.result(timeout=30)
        assert seen == [f"early {name}", f"late {name}"]
        assert job.status().tags == ("stamped",)
    first.exclude(bundle)
    assert first.registry.middleware.around("mail") == ()
    assert not first.registry.middleware.is_around_enqueue("mail")
    first.close()
    second.close()


def test_what_is_not_middleware_is_refused(app: ph.Posthorse) -> None:
    @app.job
    def mail() -> None: ...

    def plain(attempt: object) -> None: ...

    bundled = ph.Bundle().job(plain)
    for kind in (mail, bundled):
        with pytest.raises(ph.InvalidOption, match="around needs a generator function"):
            kind.around(plain)  # type: ignore[arg-type]
        with pytest.raises(ph.InvalidOption, match="around_enqueue needs a generator function"):
            kind.around_enqueue(plain)  # type: ignore[arg-type]
