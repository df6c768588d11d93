"""Children that a running job adds: stored once, joined without a worker, and read page by page."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest

import posthorse as ph
import posthorse.testing as pt
from posthorse.errors import InvalidCall, InvalidOption, JobFailed, OutcomeUnknown, TooLarge
from posthorse.store.operations.children import _adding as store_children  # pyright: ignore[reportPrivateUsage]
from posthorse.store.operations.children import standing_of
from posthorse.store.operations.flow_reading import graph_of
from posthorse.worker.checkpoints import children
from tests.waiting import until, until_state


def children_of(app: ph.Posthorse, job: ph.Job[Any]) -> list[ph.Status]:
    """Return the children of a job, in the order in which they were added."""
    rows = app.store.read(graph_of(job.id, limit=1_000)).jobs
    return [status for row in rows if row.id != job.id for status in [app.get_job(row.id).status()]]


def test_a_job_adds_children_joins_them_and_goes_on_with_their_outputs(app: ph.Posthorse) -> None:
    runs: list[int] = []

    @app.job(tags=["page"])
    def render(number: int) -> str:
        return f"page {number}"

    @app.job
    def book(ctx: ph.Context) -> list[str]:
        runs.append(1)
        ctx.add(render.bind(0))
        ctx.add_many([render.bind(number) for number in (1, 2)])
        return list(ctx.join())

    with app.worker():
        job = book.using(tenant="ann").enqueue()
        assert job.result(timeout=30) == ["page 0", "page 1", "page 2"]
    assert [attempt.outcome for attempt in job.attempts()] == ["released", "completed"]
    assert len(runs) == 2, "it ran to the join, and from its top to the end"
    pages = children_of(app, job)
    assert [page.tenant for page in pages] == ["ann"] * 3
    assert [page.tags for page in pages] == [("page",)] * 3


def test_in_a_coroutine_children_are_added_and_joined_by_the_twins(app: ph.Posthorse) -> None:
    @app.job
    async def double(number: int) -> int:
        return 2 * number

    @app.job
    async def add_up(ctx: ph.Context) -> int:
        await asyncio.gather(*(ctx.aadd(double.bind(number), name=f"number {number}") for number in range(3)))
        await ctx.aadd_many([double.bind(10)])
        return sum([number async for number in await ctx.ajoin()])

    with app.worker():
        assert add_up.enqueue().result(timeout=30) == 26


def test_while_children_run_the_job_is_blocked_and_holds_no_worker(app: ph.Posthorse) -> None:
    @app.job
    def child() -> int:
        return 7

    @app.job
    def parent(ctx: ph.Context) -> list[int]:
        ctx.add(child.using(queue="later").bind())
        return list(ctx.join())

    job = parent.enqueue()
    with app.worker(queues=["default"], concurrency=1):
        until_state(job, "blocked")
        assert job.status().reason == "waits for its children"
        assert job.status().waits_for == "1 of its 1 child to be over"
        assert [row.state for row in children_of(app, job)] == ["pending"]
    with app.worker(queues=["default", "later"], concurrency=1):
        assert job.result(timeout=30) == [7]


def test_children_are_added_once_however_often_the_code_runs(app: ph.Posthorse) -> None:
    @app.job
    def child(number: int) -> int:
        return number

    @app.job(max_attempts=4, backoff=0)
    def parent(ctx: ph.Context) -> list[int]:
        first = ctx.add(child.bind(1))
        if ctx.attempt == 1:
            raise ValueError("after the first child")
        ctx.add(child.bind(2))
        ctx.add_many([child.bind(3), child.bind(4)], name="the rest")
        if ctx.attempt == 2:
            raise ValueError("after all")
        outputs = list(ctx.join())
        if ctx.attempt == 3:
            raise ValueError("after the join")
        assert ctx.add(child.bind(5), name="last") != first
        return [*outputs, *ctx.join()]

    with app.worker():
        job = parent.enqueue()
        assert job.result(timeout=30) == [1, 2, 3, 4, 5]
    assert len(children_of(app, job)) == 5
    names = {node.name for node in job.graph().nodes}
    assert names == {"child", "the rest[0]", "the rest[1]", "last"}


def test_a_job_that_does_not_join_is_over_after_its_children(app: ph.Posthorse) -> None:
    @app.job
    def child() -> None: ...

    @app.job
    def parent(ctx: ph.Context) -> str:
        ctx.add(child.using(queue="later").bind())
        return "kept"

    job = parent.enqueue()
    with app.worker(queues=["default"]):
        until_state(job, "blocked")
    with app.worker(queues=["later"]):
        assert job.result(timeout=30) == "kept"


def test_children_of_a_slice_are_stored_with_it(app: ph.Posthorse) -> None:
    @app.job
    def mail(number: int) -> int:
        return number

    @app.job(max_attempts=3, backoff=0)
    def send(ctx: ph.Context) -> int:
        for batch in ctx.slices(range(6), size=2):
            with batch.transaction():
                ctx.add_many([mail.bind(number) for number in batch])
                if ctx.attempt == 1 and batch[0] == 2:
                    raise ValueError("inside of the second slice")
            if ctx.attempt == 2 and batch[0] == 2:
                raise ValueError("after the second slice")
        return sum(ctx.join())

    with app.worker():
        job = send.enqueue()
        assert job.result(timeout=30) == 15
    assert len(children_of(app, job)) == 6


def test_a_job_whose_slices_added_children_is_over_after_them_though_another_attempt_returns(
    app: ph.Posthorse,
) -> None:
    @app.job
    def child() -> None: ...

    @app.job(max_attempts=2, backoff=0)
    async def parent(ctx: ph.Context) -> None:
        async for batch in ctx.slices(range(1)):
            async with batch.transaction():
                await ctx.aadd(child.using(queue="later").bind())
        if ctx.attempt == 1:
            raise ValueError

    job = parent.enqueue()
    with app.worker(queues=["default"]):
        until_state(job, "blocked")
        assert job.status().attempt == 2


def test_a_failed_child_fails_the_job_for_good_and_a_retry_of_the_job_retries_it(app: ph.Posthorse) -> None:
    broken = [True]

    @app.job(max_attempts=1)
    def child(number: int) -> int:
        if number == 1 and broken:
            raise ValueError("broken")
        return number

    @app.job(backoff=0)
    def parent(ctx: ph.Context) -> list[int]:
        ctx.add_many([child.bind(number) for number in range(3)])
        return list(ctx.join())

    with app.worker():
        job = parent.enqueue()
        with pytest.raises(JobFailed, match=r"1 of 3 children failed; the last one is .*: failed in 1 attempt"):
            job.result(timeout=30)
        assert job.status().error is not None
        assert job.status().error.type == "posthorse.ChildFailed"  # type: ignore[union-attr]
        broken.clear()
        job.retry()
        assert job.result(timeout=30) == [0, 1, 2]
    assert len(children_of(app, job)) == 3


def test_a_child_that_failed_before_the_join_looked_is_retried_with_the_job(app: ph.Posthorse) -> None:
    """Then the job never waited for it."""
    broken = [True]

    @app.job(max_attempts=1)
    def child() -> int:
        if broken:
            raise ValueError("broken")
        return 1

    @app.job
    def parent(ctx: ph.Context) -> list[int]:
        ctx.add(child.bind())
        until(lambda: (join := app.store.read(standing_of(ctx.job_id, 0)).join) is not None and join.open == 0)
        return list(ctx.join())

    with app.worker():
        job = parent.enqueue()
        with pytest.raises(JobFailed, match="1 of 1 children failed"):
            job.result(timeout=30)
        broken.clear()
        job.retry()
        assert job.result(timeout=30) == [1]


def test_failed_children_may_be_skipped_or_caught_and_what_is_cancelled_is_left_out(app: ph.Posthorse) -> None:
    @app.job(max_attempts=1)
    def child(number: int) -> int:
        if number == 0:
            raise ValueError("broken")
        if number == 1:
            raise ph.Skip("nothing to do")
        return number

    @app.job(max_attempts=2, backoff=0)
    def parent(ctx: ph.Context) -> list[object]:
        ctx.add_many([child.bind(number) for number in range(4)])
        first = list(ctx.join(failed="skip"))
        ctx.add(child.bind(0))
        try:
            ctx.join()
        except ph.ChildFailed as error:
            caught = str(error)
        else:
            raise AssertionError("it failed")
        ctx.step("go on", int)
        ctx.add(child.bind(9))
        if ctx.attempt == 1:
            raise ValueError("all of it again")
        return [first, caught[:22], list(ctx.join())]

    with app.worker():
        assert parent.enqueue().result(timeout=30) == [[2, 3], "1 of 5 children failed", [9]]


def test_a_join_of_none_gives_nothing(app: ph.Posthorse) -> None:
    @app.job
    def parent(ctx: ph.Context) -> list[int]:
        ctx.add_many([])
        return list(ctx.join())

    with app.worker():
        assert parent.enqueue().result(timeout=30) == []


def test_outputs_are_a_source_of_slices(app: ph.Posthorse) -> None:
    @app.job
    def child(number: int) -> int:
        if number % 3 == 0:
            raise ph.Skip("not this one")
        return number

    @app.job(max_attempts=2, backoff=0)
    def parent(ctx: ph.Context) -> list[list[int]]:
        ctx.add_many([child.bind(number) for number in range(8)])
        seen = ctx.keep("seen", list[list[int]]())
        for batch in ctx.slices(ctx.join(), size=2):
            seen.append([*batch])
            if ctx.attempt == 1 and 4 in batch:
                raise ValueError("inside of a slice")
        return seen

    with app.worker():
        job = parent.enqueue()
        assert [number for batch in job.result(timeout=30) for number in batch] == [1, 2, 4, 5, 7]
    assert len(children_of(app, job)) == 8


def test_a_page_of_long_outputs_is_short(app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[int] = []
    whole = ph.Outputs._values  # pyright: ignore[reportPrivateUsage]  # how many rows each page has

    def counted(self: ph.Outputs, rows: Any) -> Any:  # noqa: ANN401
        pages.append(len(rows))
        return whole(self, rows)

    monkeypatch.setattr(ph.Outputs, "_values", counted)

    @app.job
    def child() -> str:
        return "x" * 2_000_000

    @app.job
    def parent(ctx: ph.Context) -> int:
        ctx.add_many([child.bind() for _ in range(5)])
        return sum(map(len, ctx.join()))

    with app.worker():
        assert parent.enqueue().result(timeout=30) == 10_000_000
    assert pages == [3, 2]


def test_cancelling_a_job_that_joins_cancels_its_children_first(app: ph.Posthorse) -> None:
    @app.job
    def child() -> None: ...

    @app.job
    def parent(ctx: ph.Context) -> None:
        ctx.add(child.using(queue="never").bind())
        ctx.join()

    job = parent.enqueue()
    with app.worker(queues=["default"]):
        until_state(job, "blocked")
        job.cancel()
        until_state(job, "cancelled")
    assert [row.state for row in children_of(app, job)] == ["cancelled"]


def test_what_cannot_be_added_is_refused_with_words(app: ph.Posthorse) -> None:
    refusals: list[str] = []

    @app.job
    def child(number: int) -> int:
        return number

    @app.job
    def parent(ctx: ph.Context) -> None:
        for add, error in (
            (lambda: ctx.add(child), InvalidOption),  # type: ignore[arg-type]
            (lambda: ctx.add_many(child.bind(1)), InvalidOption),  # type: ignore[arg-type]
            (lambda: ctx.add(child.using(key="k").bind(1)), InvalidOption),
            (lambda: ctx.add(child.bind(ph.previous)), InvalidCall),
            (lambda: ctx.join(failed="ignore"), InvalidOption),  # type: ignore[arg-type]
        ):
            with pytest.raises(error) as refused:
                add()
            refusals.append(str(refused.value))
        ctx.add(child.bind(1), name="one")
        with pytest.raises(InvalidOption, match="this attempt had a step 'one' before"):
            ctx.add(child.bind(1), name="one")
        for batch in ctx.slices(range(1)):
            with pytest.raises(InvalidCall, match="a child is added inside a slice"):
                ctx.add(child.bind(2))
            ctx.add(child.bind(2), name=f"of {batch[0]}")
            with batch.transaction(), pytest.raises(InvalidCall, match="leave its name out"):
                ctx.add(child.bind(3), name="three")

    with app.worker():
        job = parent.enqueue()
        job.result(timeout=30)
    for text, begins in zip(
        refusals,
        (
            "a child is a call, not ",
            "ctx.add_many takes a list of calls, not ",
            "'child' has a key or is unique, so the child might be an earlier job",
            "child(): argument number is ",
            "failed is 'ignore'; it must be",
        ),
        strict=True,
    ):
        assert text.startswith(begins)
    assert len(children_of(app, job)) == 2


def test_more_children_than_a_commit_takes_are_refused(monkeypatch: pytest.MonkeyPatch, app: ph.Posthorse) -> None:
    monkeypatch.setattr(children, "MAX_CHILDREN", 2)

    @app.job
    def child() -> None: ...

    with pytest.raises(TooLarge, match="3 children are added at once, and one commit takes 2"):
        children.checked_calls([child.bind()] * 3)


def test_a_job_with_shards_cannot_add_children(app: ph.Posthorse) -> None:
    @app.job
    def child() -> None: ...

    @app.job(shards=2, max_attempts=1)
    def parent(ctx: ph.Context) -> None:
        ctx.add(child.bind())

    with app.worker(), pytest.raises(JobFailed, match="a job with shards= waits for its parts"):
        parent.enqueue().result(timeout=30)


def test_middleware_and_listeners_hear_of_children(app: ph.Posthorse) -> None:
    heard: list[str] = []
    submitted: list[str] = []

    @app.around_enqueue
    def around(submissions: Sequence[ph.Submission]) -> Iterator[None]:
        heard.extend(submission.kind for submission in submissions)
        yield

    @app.listen(ph.events.Submitted)
    def note(event: ph.events.Submitted) -> None:
        submitted.extend(job.kind for job in event.jobs)

    @app.job
    def child() -> None: ...

    @app.job
    def parent(ctx: ph.Context) -> None:
        ctx.add(child.bind())
        ctx.join()

    with app.worker():
        parent.enqueue().result(timeout=30)
    assert heard == ["parent", "child"]
    assert submitted == ["parent", "child"]


def test_a_context_without_a_store_adds_no_children() -> None:
    with pytest.raises(InvalidCall, match="needs the connection of a store"):
        pt.context().join()


@pytest.mark.parametrize("is_named", [False, True])
def test_a_kept_join_does_not_stand_for_children_that_were_added_after_it(app: ph.Posthorse, is_named: bool) -> None:
    """No step of a later attempt tells of them: the slices that added them are not run again."""

    @app.job
    def child(number: int) -> int:
        return number

    @app.job(max_attempts=2, backoff=0)
    def parent(ctx: ph.Context) -> str:
        ctx.add(child.bind(0))
        ctx.join()
        for batch in ctx.slices(range(2), size=1):
            if is_named:
                ctx.add(child.using(queue="later").bind(1), name=f"child {batch[0]}")
            else:
                with batch.transaction():
                    ctx.add(child.using(queue="later").bind(1))
        if ctx.attempt == 1:
            raise ValueError("after the last slice")
        return "kept"

    job = parent.enqueue()
    with app.worker(queues=["default"]):
        until(lambda: job.status().attempt == 2 and job.status().state in ("blocked", "completed"))
        assert job.status().state == "blocked"
    with app.worker(queues=["default", "later"]):
        assert job.result(timeout=30) == "kept"


@pytest.mark.parametrize("adds_again", [False, True])
def test_a_lost_reply_to_an_add_ends_the_attempt_though_the_code_swallows_it(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch, adds_again: bool
) -> None:
    commit, lost = app.store.run, [OutcomeUnknown("the reply was lost")]

    def losing(operation: Any) -> Any:  # noqa: ANN401
        reply = commit(operation)
        if lost and getattr(operation.start, "func", None) is store_children:
            raise lost.pop()
        return reply

    monkeypatch.setattr(app.store, "run", losing)

    @app.job
    def child() -> int:
        return 1

    @app.job(max_attempts=3, backoff=0)
    def parent(ctx: ph.Context) -> list[int]:
        try:
            ctx.add(child.bind(), name="one")
        except OutcomeUnknown:
            if adds_again:
                ctx.add(child.bind(), name="another")
            return []
        return list(ctx.join())

    with app.worker():
        job = parent.enqueue()
        assert job.result(timeout=30) == [1]
    assert not lost
    assert len(children_of(app, job)) == 1


def test_a_join_raises_for_a_child_that_failed_though_an_earlier_one_came_back_to_life(app: ph.Posthorse) -> None:
    broken = {1, 2}

    @app.job(max_attempts=1)
    def child(number: int) -> int:
        if number in broken:
            raise ValueError("broken")
        return number

    @app.job(max_attempts=1)
    def parent(ctx: ph.Context) -> None:
        ctx.add(child.bind(1))
        ctx.join(failed="skip")
        if 1 in broken:
            raise ValueError("after the first join")
        ctx.add(child.bind(2))
        ctx.join()

    with app.worker():
        job = parent.enqueue()
        with pytest.raises(JobFailed, match="after the first join"):
            job.result(timeout=30)
        broken.remove(1)
        job.retry()
        with pytest.raises(JobFailed, match="1 of 2 children failed"):
            job.result(timeout=30)


@pytest.mark.parametrize("caught", [False, True])
@pytest.mark.parametrize("later", ["completes", "fails"])
def test_a_failed_child_that_the_code_went_past_does_not_fail_the_job(
    app: ph.Posthorse, caught: bool, later: str
) -> None:
    @app.job(max_attempts=1)
    def child(does: str) -> None:
        if does == "fails":
            raise ValueError("broken")

    @app.job
    def parent(ctx: ph.Context) -> str:
        ctx.add(child.bind("fails"))
        with suppress(ph.ChildFailed):
            ctx.join(failed="raise" if caught else "skip")
        ctx.add(child.bind(later))
        return "kept"

    with app.worker():
        job = parent.enqueue()
        if later == "completes":
            assert job.result(timeout=30) == "kept"
        else:
            with pytest.raises(JobFailed, match="1 of 2 children failed"):
                job.result(timeout=30)
