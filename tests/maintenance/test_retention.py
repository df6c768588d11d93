"""Retention: jobs leave in time with all that belongs to them; those that are not over, or were retried, stay."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta

import pytest

import posthorse as ph
from posthorse import ids
from posthorse.clock import Clock
from posthorse.maintenance.chores import retention as chore
from posthorse.maintenance.chores.retention import ForgetOldJobs, choose, retention_of
from posthorse.rules.tuning import Tuning
from posthorse.store.operations.retention import FIRST, forget_jobs, note_forgotten, old_jobs
from posthorse.store.operations.runners import next_due
from tests.waiting import until_state

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(store_url: str, clock: Clock, tuning: Tuning) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url, clock=clock, tuning=tuning, keep="completed=5h,cancelled=5h,failed=9h")
    app.migrate()
    app.job(kind="work", max_attempts=1)(work)
    app.job(kind="brief", keep=ph.Keep(completed="3h", results="1h"))(work)
    app.job(kind="only", unique=True)(work)
    app.job(kind="long")(long)
    yield app
    app.close()


def work(number: int = 0) -> int:
    if number < 0:
        raise ValueError("it is below zero")
    return number


def tell(number: int) -> None:
    logging.getLogger("shop").warning("number %d", number)


def long(ctx: ph.Context, size: int) -> None:
    for batch in ctx.slices(range(size), size=2, tolerate=10):
        for number in batch:
            with batch.tolerate(number):
                work(-(number % 2))


def enqueue(app: ph.Posthorse, kind: str, *numbers: int, **options: object) -> list[ph.Job[object]]:
    declared: ph.Kind[[int], object] = ph.Kind(app, app.registry[kind])
    return app.enqueue_many([declared.using(**options).bind(number) for number in numbers])  # type: ignore[arg-type]


def finish(app: ph.Posthorse, jobs: Sequence[ph.Job[object]]) -> None:
    """Run jobs to their end with a worker that removes nothing."""
    with app.worker():
        for job in jobs:
            until_state(job, "completed", "failed")


def walk(app: ph.Posthorse) -> ForgetOldJobs:
    """Do one round of a process that leads."""
    made = ForgetOldJobs(app.store, retention_of(app.registry, app.settings))
    asyncio.run(_round(app, made))
    return made


async def _round(app: ph.Posthorse, made: ForgetOldJobs) -> None:
    look = await app.store.aread(next_due())
    await made.run(look)
    while made.is_on_its_way:
        await made.run(look)


def declare(app: ph.Posthorse, clock: Clock) -> None:
    """Let the notice period pass."""
    walk(app)
    clock.advance(HOUR)


def states(app: ph.Posthorse, jobs: Sequence[ph.Job[object]]) -> list[str]:
    found: list[str] = []
    for job in jobs:
        try:
            found.append(job.status().state.value)
        except ph.JobForgotten:
            found.append("forgotten")
    return found


def test_jobs_leave_after_their_retention_by_how_they_ended(app: ph.Posthorse, clock: Clock) -> None:
    declare(app, clock)
    jobs = [*enqueue(app, "work", 1, -1), *enqueue(app, "brief", 3)]
    finish(app, jobs)
    [cancelled] = enqueue(app, "work", 4, delay="9d")
    cancelled.cancel()
    [waiting] = enqueue(app, "work", 5, delay="30d")
    jobs += [cancelled, waiting]

    clock.advance(0.9 * HOUR)
    walk(app)
    assert jobs[2].result() == 3
    clock.advance(0.2 * HOUR)
    walk(app)
    with pytest.raises(ph.ResultExpired, match="its result was removed"):
        jobs[2].result()
    assert states(app, jobs) == ["completed", "failed", "completed", "cancelled", "scheduled"]
    clock.advance(2.5 * HOUR)
    walk(app)
    assert states(app, jobs) == ["completed", "failed", "forgotten", "cancelled", "scheduled"]
    clock.advance(2 * HOUR)
    walk(app)
    assert states(app, jobs) == ["forgotten", "failed", "forgotten", "forgotten", "scheduled"]
    clock.advance(4 * HOUR)
    walk(app)
    assert states(app, jobs) == ["forgotten"] * 4 + ["scheduled"]


def test_what_a_job_logged_may_leave_before_the_job(app: ph.Posthorse, clock: Clock) -> None:
    app.job(kind="telling", keep=ph.Keep(completed="3h", logs="1h"))(tell)
    declare(app, clock)
    [job] = enqueue(app, "telling", 1)
    finish(app, [job])

    clock.advance(0.9 * HOUR)
    walk(app)
    assert [line.message for line in job.logs()] == ["number 1"]
    clock.advance(0.2 * HOUR)
    walk(app)
    assert job.logs() == []
    assert states(app, [job]) == ["completed"]


def test_without_a_word_logs_stay_for_a_week(store_url: str, clock: Clock) -> None:
    app = ph.Posthorse(store_url, clock=clock)
    app.job(kind="telling")(tell)
    app.migrate()
    declare(app, clock)
    [job] = enqueue(app, "telling", 1)
    finish(app, [job])
    for days, left in ((6.9, 1), (0.2, 0)):
        clock.advance(24 * days * HOUR)
        walk(app)
        assert len(job.logs()) == left
    app.close()


def test_what_is_asked_of_a_forgotten_job_says_so(app: ph.Posthorse, clock: Clock) -> None:
    declare(app, clock)
    jobs = enqueue(app, "work", 1, 2)
    finish(app, jobs)
    clock.advance(6 * HOUR)
    walk(app)
    calls: list[Callable[[], object]] = [
        jobs[0].status,
        jobs[0].result,
        jobs[0].attempts,
        jobs[0].bad_items,
        jobs[0].cancel,
        jobs[0].retry,
        jobs[0].retry_bad_items,
        jobs[0].delete,
        app.get_job(jobs[0].id).status,
    ]
    for call in calls:
        with pytest.raises(ph.JobForgotten, match="because retention keeps no job for so long"):
            call()
    [later] = enqueue(app, "work", 3)
    with pytest.raises(ph.JobNotFound, match="no job has the id") as caught:
        app.get_job(ids.moved_to(ids.new_id(), 2**52)).status()
    assert type(caught.value) is ph.JobNotFound
    assert later.status().state == "pending"


def test_a_key_that_names_a_forgotten_job_still_returns_it(app: ph.Posthorse, clock: Clock) -> None:
    """A key without a `ttl` is a promise for ever."""
    declare(app, clock)
    [job] = enqueue(app, "work", 1, key="order-7")
    finish(app, [job])
    clock.advance(6 * HOUR)
    walk(app)
    [again] = enqueue(app, "work", 1, key="order-7")
    assert (again.id, again.created) == (job.id, False)
    with pytest.raises(ph.JobForgotten):
        again.status()


def test_identities_leave_with_their_jobs_unless_a_new_job_has_them(app: ph.Posthorse, clock: Clock) -> None:
    declare(app, clock)
    first, second = enqueue(app, "only", 1)[0], enqueue(app, "only", 2)[0]
    finish(app, [first, second])
    clock.advance(6 * HOUR)
    [successor] = enqueue(app, "only", 2)
    assert successor.created
    walk(app)
    assert states(app, [first, second, successor]) == ["forgotten", "forgotten", "pending"]
    assert table(app, "keys") == 1
    assert enqueue(app, "only", 2)[0].id == successor.id


def test_all_that_belongs_to_a_job_leaves_with_it(app: ph.Posthorse, clock: Clock) -> None:
    declare(app, clock)
    jobs = [*enqueue(app, "long", 6), *enqueue(app, "work", -1)]
    finish(app, jobs)
    assert [table(app, name) for name in ("checkpoints", "bad_items", "events", "parked")] == [1, 3, 1, 1]
    clock.advance(10 * HOUR)
    walk(app)
    assert states(app, jobs) == ["forgotten", "forgotten"]
    assert [table(app, name) for name in ("checkpoints", "bad_items", "events", "parked")] == [0, 0, 0, 0]


def test_a_job_that_is_retried_at_that_moment_stays(app: ph.Posthorse, clock: Clock) -> None:
    declare(app, clock)
    jobs = enqueue(app, "work", -1, -2)
    finish(app, jobs)
    clock.advance(10 * HOUR)
    page = app.store.read(old_jobs(after=FIRST, limit=10))
    going, _, _, is_late = choose(page)
    assert [one.job for one in going] == [job.id for job in jobs]
    assert is_late
    jobs[0].retry()
    app.store.run(note_forgotten(going[-1].job))
    assert app.store.run(forget_jobs(page.jobs[0].id, page.jobs[-1].id, going, [])) == 1
    assert states(app, jobs) == ["pending", "forgotten"]
    assert jobs[0].attempts()[0].outcome == "failed"  # its events stayed, too


@pytest.mark.tuning(retention_page=3)
def test_a_walk_goes_through_all_pages(app: ph.Posthorse, clock: Clock) -> None:
    declare(app, clock)
    jobs = [*enqueue(app, "work", 1, 2, -3, 4, 5, -6, 7), *enqueue(app, "only", 1, 2, 3, 4)]
    finish(app, jobs)
    clock.advance(6 * HOUR)
    walk(app)
    left = ["failed" if place in (2, 5) else "forgotten" for place in range(len(jobs))]
    assert states(app, jobs) == left
    assert table(app, "keys") == 0


def test_an_old_store_keeps_its_jobs_for_an_hour_after_the_first_start(
    app: ph.Posthorse, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = enqueue(app, "work", 1)
    finish_without_retention(app, jobs)
    clock.advance(400 * DAY)
    with caplog.at_level(logging.WARNING):
        walk(app)
    assert "in 1h from now jobs begin to leave the store" in caplog.text
    assert "of the kind brief" in caplog.text
    assert "of the queue" not in caplog.text
    assert "posthorse prune --dry-run" in caplog.text
    assert states(app, jobs) == ["completed"]
    caplog.clear()
    clock.advance(HOUR)
    with caplog.at_level(logging.WARNING):
        walk(app)
    assert caplog.text == ""
    assert states(app, jobs) == ["forgotten"]


def test_a_new_store_begins_without_a_warning(app: ph.Posthorse, caplog: pytest.LogCaptureFixture) -> None:
    enqueue(app, "work", 1)
    with caplog.at_level(logging.WARNING):
        walk(app)
    assert caplog.text == ""


def test_a_queue_says_how_long_its_jobs_stay_in_code_and_live(app: ph.Posthorse, clock: Clock) -> None:
    app.queue("mail", keep="30h")
    declare(app, clock)
    jobs = [*enqueue(app, "work", 1, queue="mail"), *enqueue(app, "work", 2), *enqueue(app, "brief", 3, queue="mail")]
    finish(app, jobs)
    clock.advance(6 * HOUR)
    walk(app)
    assert states(app, jobs) == ["completed", "forgotten", "forgotten"]  # a kind wins over its queue
    app.queue("mail").set(keep="2h")
    assert app.queue("mail").settings().keep == ph.Keep(completed="2h", cancelled="2h")
    walk(app)
    assert states(app, jobs) == ["completed", "forgotten", "forgotten"]  # an hour in which to take it back
    clock.advance(HOUR)
    walk(app)
    assert states(app, jobs) == ["forgotten", "forgotten", "forgotten"]


def test_a_process_that_does_not_lead_declares_and_removes_nothing(app: ph.Posthorse, clock: Clock) -> None:
    declare(app, clock)
    jobs = enqueue(app, "work", 1)
    finish(app, jobs)
    clock.advance(6 * HOUR)
    follower = ForgetOldJobs(app.store, retention_of(app.registry, app.settings))
    assert follower.due_in(None) <= 0
    assert asyncio.run(follower.run(None)) is None
    assert follower.due_in(None) > 1e9
    assert states(app, jobs) == ["completed"]


def test_a_job_is_deleted_with_its_keys_and_all_that_belongs_to_it(app: ph.Posthorse) -> None:
    jobs = [*enqueue(app, "work", -1, key="once"), *enqueue(app, "only", 3), *enqueue(app, "long", 4)]
    finish_without_retention(app, jobs)
    for job in jobs:
        job.delete()
        with pytest.raises(ph.JobNotFound):
            job.status()
    assert {table(app, name) for name in ("jobs", "events", "parked", "checkpoints", "bad_items", "keys")} == {0}


def test_a_job_that_is_not_over_cannot_be_deleted(app: ph.Posthorse) -> None:
    [job] = enqueue(app, "work", 1)
    with pytest.raises(ph.InvalidTransition, match="is pending, so it cannot be deleted; cancel it first"):
        job.delete()
    job.cancel()
    job.delete()
    assert table(app, "jobs") == 0


@pytest.mark.parametrize("moment", ["before_forgetting", "after_forgetting"])
def test_nothing_is_half_removed_when_a_walk_is_interrupted(
    app: ph.Posthorse, clock: Clock, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(app, clock)
    jobs = enqueue(app, "work", -1, -2)
    finish(app, jobs)
    clock.advance(10 * HOUR)

    def die(name: str) -> None:
        if name == moment:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(chore, "failpoint", die)
        with pytest.raises(KeyboardInterrupt):
            walk(app)
    left = table(app, "jobs")
    assert left == (2 if moment == "before_forgetting" else 0)
    assert table(app, "events") == table(app, "parked") == left
    walk(app)
    assert states(app, jobs) == ["forgotten", "forgotten"]


def finish_without_retention(app: ph.Posthorse, jobs: Sequence[ph.Job[object]]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ForgetOldJobs, "due_in", lambda self, look: 1e9)
        finish(app, jobs)


def table(app: ph.Posthorse, name: str) -> int:
    """Return how many rows a table has."""
    schema = "posthorse_" if app.store.backend.dialect.name == "sqlite" else "posthorse."
    with app.store.transaction() as connection:
        return connection.execute(f"SELECT count(*) FROM {schema}{name}").fetchone()[0]  # type: ignore[attr-defined,no-any-return]
