"""Limits in real workers, on both stores: what starts when, and what holds the rest back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import cast

import pytest

import posthorse as ph
from posthorse.errors import StoreError, StoreUnreachable
from posthorse.rules.tuning import Tuning
from posthorse.store.base import Operation
from posthorse.store.operations import telling
from posthorse.store.store import Store
from posthorse.worker.base import live_queues
from posthorse.worker.claiming import claiming
from posthorse.worker.claiming.claim_values import Claim, ClaimRequest
from tests.waiting import until, until_state


class Floor:
    """The jobs that run at the same time."""

    def __init__(self) -> None:
        self.most: Counter[object] = Counter()
        self.begun: defaultdict[object, list[object]] = defaultdict(list)
        self._now: Counter[object] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def enter(self, key: object, who: object) -> Iterator[None]:
        with self._lock:
            self._now[key] += 1
            self.most[key] = max(self.most[key], self._now[key])
            self.begun[key].append(who)
        try:
            yield
        finally:
            with self._lock:
                self._now[key] -= 1


@pytest.fixture
def floor() -> Floor:
    return Floor()


def finish(app: ph.Posthorse, jobs: Sequence[ph.Job[object]], *, workers: int = 2, concurrency: int = 10) -> None:
    """Work with several runners until the jobs are over."""
    with working(app, workers, concurrency):
        for job in jobs:
            job.result(timeout=30)


@contextmanager
def working(app: ph.Posthorse, workers: int, concurrency: int) -> Iterator[None]:
    if workers == 0:
        yield
        return
    with app.worker(concurrency=concurrency), working(app, workers - 1, concurrency):
        yield


def test_a_kind_runs_no_more_at_once_than_its_concurrency(app: ph.Posthorse, floor: Floor) -> None:
    @app.job(concurrency=3)
    async def call(n: int) -> None:
        with floor.enter("call", n):
            await asyncio.sleep(0.01)

    finish(app, app.enqueue_many([call.bind(n) for n in range(40)]))

    assert floor.most["call"] == 3


def test_a_queue_runs_no_more_at_once_than_its_concurrency_whatever_the_kind(app: ph.Posthorse, floor: Floor) -> None:
    app.queue("calls", concurrency=2)

    @app.job(queue="calls")
    async def ring(n: int) -> None:
        with floor.enter("calls", n):
            await asyncio.sleep(0.01)

    @app.job(queue="calls")
    async def write(n: int) -> None:
        with floor.enter("calls", n):
            await asyncio.sleep(0.01)

    finish(app, app.enqueue_many([kind.bind(n) for n in range(15) for kind in (ring, write)]))

    assert floor.most["calls"] == 2


def test_a_concurrency_per_parameter_lets_other_values_pass(app: ph.Posthorse, floor: Floor) -> None:
    @app.job(concurrency=ph.Concurrency(1, per="customer"))
    async def bill(customer: int, n: int) -> None:
        with floor.enter(customer, n):
            await asyncio.sleep(0.005)

    finish(app, app.enqueue_many([bill.bind(customer, n) for n in range(8) for customer in range(5)]))

    assert floor.most == dict.fromkeys(range(5), 1)
    assert all(begun == list(range(8)) for begun in floor.begun.values())  # held jobs keep their order


def test_what_is_held_says_what_it_waits_for(app: ph.Posthorse) -> None:
    go = threading.Event()

    @app.job(concurrency=ph.Concurrency(1, per="customer"))
    def bill(customer: int) -> None:
        go.wait(30)

    jobs = app.enqueue_many([bill.bind(7), bill.bind(7)])
    with app.worker():
        until_state(jobs[1], "blocked")
        assert jobs[1].status().reason == "waits for concurrency of kind bill, customer=7"
        assert jobs[0].status().state == "processing"
        go.set()
        for job in jobs:
            job.result(timeout=30)


def test_a_named_limit_is_shared_between_kinds(app: ph.Posthorse, floor: Floor) -> None:
    @app.job(concurrency=ph.Concurrency(2, name="api"))
    async def fetch(n: int) -> None:
        with floor.enter("api", n):
            await asyncio.sleep(0.01)

    @app.job(concurrency=ph.Concurrency(2, name="api"), queue="other")
    async def push(n: int) -> None:
        with floor.enter("api", n):
            await asyncio.sleep(0.01)

    finish(app, app.enqueue_many([kind.bind(n) for n in range(10) for kind in (fetch, push)]))

    assert floor.most["api"] == 2


def test_a_rate_lets_a_burst_through_and_then_goes_at_its_pace(app: ph.Posthorse) -> None:
    starts: list[float] = []

    @app.job(rate=ph.Rate("20/s", burst=4))
    async def call() -> None:
        starts.append(time.monotonic())

    finish(app, app.enqueue_many([call.bind() for _ in range(16)]))

    starts.sort()
    for first in range(len(starts)):
        for last in range(first + 1, len(starts)):
            window = starts[last] - starts[first]
            # Jobs are counted when they are claimed; the slack is for those that start a moment later.
            assert last - first + 1 <= 20 * (window + 0.3) + 4


def test_a_rate_per_tenant_holds_one_tenant_back_and_not_another(app: ph.Posthorse) -> None:
    done: list[str] = []

    @app.job(rate=ph.Rate("1/h", per="tenant"))
    async def call(name: str) -> None:
        done.append(name)

    first = [call.using(tenant="a").enqueue("a1"), call.using(tenant="b").enqueue("b1")]
    second = call.using(tenant="a").enqueue("a2")
    with app.worker():
        for job in first:
            job.result(timeout=30)
        until_state(second, "blocked")

    assert sorted(done) == ["a1", "b1"]


def test_a_sequence_keeps_its_order_through_retries(app: ph.Posthorse, floor: Floor) -> None:
    @app.job(sequence=ph.Sequence(per="account"), backoff=0.01, max_attempts=3)
    async def book(ctx: ph.Context, account: int, n: int) -> None:
        with floor.enter(account, n):
            await asyncio.sleep(0.002)
            if n == 2 and ctx.attempt < 3:
                raise ValueError("not yet")

    finish(app, app.enqueue_many([book.bind(account, n) for n in range(5) for account in range(3)]))

    assert floor.most == dict.fromkeys(range(3), 1)
    assert all(begun == [0, 1, 2, 2, 2, 3, 4] for begun in floor.begun.values())


def test_a_dead_head_blocks_its_sequence_until_it_is_discarded(app: ph.Posthorse) -> None:
    done: list[int] = []

    @app.job(max_attempts=1)
    def book(n: int) -> None:
        if n == 0:
            raise ValueError("broken")
        done.append(n)

    head, behind = (book.using(sequence="account-1").enqueue(n) for n in range(2))
    with app.worker():
        until_state(head, "failed")
        until_state(behind, "blocked")
        assert behind.status().reason == "waits for sequence account-1"
        app.jobs("state:failed").discard()
        behind.result(timeout=30)

    assert done == [1]


def test_a_dead_head_is_passed_where_that_is_declared(app: ph.Posthorse) -> None:
    @app.job(max_attempts=1)
    def book(n: int) -> int:
        if n == 0:
            raise ValueError("broken")
        return n

    in_turn = book.using(sequence=ph.Sequence("account-1", on_dead="pass"))
    head, behind = in_turn.enqueue(0), in_turn.enqueue(1)
    with app.worker():
        assert behind.result(timeout=30) == 1
        assert head.status().state == "failed"


def test_a_job_of_a_sequence_that_ended_and_is_retried_goes_behind_those_who_waited(
    app: ph.Posthorse, floor: Floor
) -> None:
    @app.job(backoff="1h")
    def book(n: int) -> None:
        with floor.enter("account", n):
            if floor.begun["account"] == [0]:
                raise RuntimeError

    head, behind = (book.using(sequence="account-1").enqueue(n) for n in range(2))
    with app.worker():
        until_state(head, "scheduled")
        until_state(behind, "blocked")
    head.cancel()
    head.retry()
    finish(app, [head, behind])
    assert floor.begun["account"] == [0, 1, 0]


def test_a_sequence_by_key_goes_across_kinds(app: ph.Posthorse, floor: Floor) -> None:
    @app.job
    async def take(n: int) -> None:
        with floor.enter("key", n):
            await asyncio.sleep(0.005)

    @app.job(queue="other")
    async def give(n: int) -> None:
        with floor.enter("key", n):
            await asyncio.sleep(0.005)

    jobs = [kind.using(sequence="key").enqueue(n) for n, kind in enumerate([take, give, give, take, give])]
    finish(app, list(jobs))

    assert floor.most["key"] == 1
    assert floor.begun["key"] == [0, 1, 2, 3, 4]


def test_a_limit_that_is_changed_live_holds_at_once(app: ph.Posthorse, floor: Floor) -> None:
    go = threading.Event()

    @app.job(queue="calls")
    def ring(n: int) -> None:
        with floor.enter("calls", n):
            go.wait(30)

    app.queue("calls").set(concurrency=1)
    jobs = app.enqueue_many([ring.bind(n) for n in range(6)])
    with app.worker(concurrency=6):
        until(lambda: len(floor.begun["calls"]) == 1)
        app.queue("calls").set(concurrency=4)
        until(lambda: len(floor.begun["calls"]) == 4)
        go.set()
        for job in jobs:
            job.result(timeout=30)

    assert floor.most["calls"] == 4


def test_tenants_of_a_fair_queue_take_turns(app: ph.Posthorse) -> None:
    order: list[str] = []
    app.queue("mail", fair=True)

    @app.job(queue="mail")
    async def send(who: str) -> None:
        order.append(who)

    jobs = app.enqueue_many([send.using(tenant="many").bind("many") for _ in range(50)])
    jobs += app.enqueue_many([send.using(tenant="few").bind("few") for _ in range(5)])
    finish(app, list(jobs), workers=1, concurrency=1)

    assert [n for n, who in enumerate(order) if who == "few"][-1] <= 12


@pytest.mark.parametrize("per", [None, "n"])
def test_jobs_without_limits_are_not_claimed_past_those_with_limits(app: ph.Posthorse, per: str | None) -> None:
    order: list[str] = []

    @app.job(concurrency=ph.Concurrency(1_000, per=per))  # ended jobs count until their results are written
    async def limited(n: int) -> None:
        order.append("limited")

    @app.job
    async def free(n: int) -> None:
        order.append("free")

    jobs = app.enqueue_many([limited.bind(n) for n in range(60)] + [free.bind(n) for n in range(600)])
    finish(app, jobs, workers=1, concurrency=4)

    assert "free" not in order[:50]


def test_no_claim_is_in_vain_while_jobs_with_limits_come_one_after_the_other(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims: list[int] = []
    claim = claiming.Claiming.claim

    async def counted(self: claiming.Claiming, request: ClaimRequest) -> Claim:
        claimed = await claim(self, request)
        claims.append(len(claimed.jobs))
        return claimed

    @app.job(concurrency=1_000)
    async def limited(n: int) -> None: ...

    @app.job
    async def free(n: int) -> None: ...

    calls = [kind.bind(n) for n in range(100) for kind in (limited, free)]
    jobs = app.enqueue_many(calls)
    monkeypatch.setattr(claiming.Claiming, "claim", counted)
    finish(app, jobs, workers=1, concurrency=4)
    last = max(place for place, count in enumerate(claims) if count)
    assert claims[:last].count(0) <= 5


def test_a_lane_is_not_served_before_its_limits_could_be_read(
    app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: list[int] = []
    most = 0
    failures = 1

    def queues_and_watchers() -> Operation[telling.QueuesAndWatchers]:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise StoreError("the disk of this test cannot be read")
        return telling.queues_and_watchers()

    @app.job(queue="calls")
    async def call(n: int) -> None:
        nonlocal most
        running.append(n)
        most = max(most, len(running))
        await asyncio.sleep(0.02)
        running.remove(n)

    @app.job
    async def other() -> None: ...

    with app.worker(concurrency=8):
        other.enqueue().result(timeout=30)
        monkeypatch.setattr(live_queues, "queues_and_watchers", queues_and_watchers)
        app.queue("calls").set(concurrency=1)
        for job in app.enqueue_many([call.bind(n) for n in range(8)]):
            job.result(timeout=30)
    assert failures < 0
    assert most == 1


def test_a_cancelled_head_makes_room(app: ph.Posthorse) -> None:
    @app.job(backoff="1h")
    def book(n: int) -> int:
        if n == 0:
            raise ValueError("not now")
        return n

    head, behind = (book.using(sequence="account-1").enqueue(n) for n in range(2))
    with app.worker():
        until_state(head, "scheduled")
        until_state(behind, "blocked")
        head.cancel()
        assert behind.result(timeout=30) == 1


def test_a_kind_that_was_renamed_has_one_limit_under_both_names(app: ph.Posthorse, floor: Floor) -> None:
    @app.job(kind="bill")
    async def before(customer: int, n: int) -> None: ...

    old = app.enqueue_many([before.bind(7, n) for n in range(0, 10, 2)])
    later = ph.Posthorse(app.settings.url)

    @later.job(
        kind="invoice",
        aliases=["bill"],
        concurrency=ph.Concurrency(2, per="customer"),
        sequence=ph.Sequence(per="customer"),
    )
    async def after(customer: int, n: int) -> None:
        with floor.enter(customer, n):
            await asyncio.sleep(0.005)

    new = later.enqueue_many([after.bind(7, n) for n in range(1, 10, 2)])
    finish(later, [*map(later.get_job, [job.id for job in old]), *new])
    later.close()

    assert floor.most[7] == 1
    assert sorted(map(str, floor.begun[7])) == [str(n) for n in range(10)]


@pytest.mark.parametrize(
    "value", [object(), "\ud800", 10**5000, ValueError("no")], ids=["object", "text", "int", "raises"]
)
def test_jobs_that_a_limit_cannot_tell_apart_share_it_and_run(
    app: ph.Posthorse, floor: Floor, caplog: pytest.LogCaptureFixture, value: object
) -> None:
    def goes_by(n: int) -> object:
        if isinstance(value, Exception):
            raise value
        return value

    @app.job(concurrency=ph.Concurrency(1, per=goes_by))
    async def call(n: int) -> None:
        with floor.enter("call", n):
            await asyncio.sleep(0.005)

    finish(app, app.enqueue_many([call.bind(n) for n in range(5)]), workers=1)

    assert floor.most["call"] == 1
    assert "cannot compute the partition key for a limit of call" in caplog.text


def test_a_function_of_a_limit_may_use_the_store_and_is_called_once_a_job(app: ph.Posthorse, floor: Floor) -> None:
    """It is called before gates are locked, outside of any transaction."""
    called: list[tuple[int, int]] = []

    @app.job(queue="told")
    def told(n: int) -> None: ...

    def goes_by(n: int, customer: int) -> int:
        told.enqueue(n)
        called.append((n, app.jobs("queue:told").count()))
        return customer

    @app.job(concurrency=ph.Concurrency(1, per=goes_by), sequence=ph.Sequence(per=goes_by))
    async def call(n: int, customer: int) -> None:
        with floor.enter(customer, n):
            await asyncio.sleep(0.005)

    jobs = [call.enqueue(n, n % 3) for n in range(12)]
    with app.worker(queues=["default"]):
        for job in jobs:
            job.result(timeout=30)

    assert {count for _, count in called} >= {1}
    # for each of its two limits, however often it was held; and when enqueued, for its place in the sequence
    assert len(called) == 3 * len(jobs)
    assert all(floor.most[customer] == 1 for customer in range(3))
    assert [floor.begun[customer] for customer in range(3)] == [list(range(first, 12, 3)) for first in range(3)]


def test_a_limit_cannot_go_by_a_coroutine() -> None:
    async def goes_by(n: int) -> int:
        return n

    with pytest.raises(ph.InvalidOption, match="coroutine"):
        ph.Concurrency(1, per=goes_by)


def test_a_sequence_keeps_its_order_across_priorities_and_queues_however_long_their_lines(
    app: ph.Posthorse, floor: Floor
) -> None:
    @app.job(sequence=ph.Sequence(per="account"))
    async def book(account: int, n: int) -> None:
        with floor.enter(account, n):
            await asyncio.sleep(0)

    other = app.enqueue_many([book.bind(account, 0) for account in range(1, 301)])  # before the first, in its lane
    jobs = [
        book.enqueue(0, 0),
        book.using(priority=9).enqueue(0, 1),
        book.using(queue="other").enqueue(0, 2),
        book.using(priority=5).enqueue(0, 3),
    ]
    finish(app, [*jobs, *other])

    assert floor.begun[0] == [0, 1, 2, 3]
    assert floor.most[0] == 1


def test_a_job_in_a_paused_queue_holds_those_behind_it_in_its_sequence(app: ph.Posthorse) -> None:
    @app.job
    def book(n: int) -> int:
        return n

    first = book.using(sequence="ledger", queue="night").enqueue(1)
    second = book.using(sequence="ledger").enqueue(2)
    app.queue("night").pause()
    with app.worker():
        until_state(second, "blocked")
        app.queue("night").resume()
        assert [first.result(timeout=30), second.result(timeout=30)] == [1, 2]


def test_retries_of_a_dead_downstream_start_no_faster_than_the_budget_of_their_queue(app: ph.Posthorse) -> None:
    """F81: all fail at once, and would all be retried at once."""
    app.queue("hooks", retry_budget=ph.Rate("2/m", burst=2))

    @app.job(queue="hooks", max_attempts=2, backoff=0)
    async def deliver(n: int) -> None:
        raise ConnectionError

    jobs = app.enqueue_many([deliver.bind(n) for n in range(20)])
    with working(app, 2, 10):
        until(lambda: app.jobs("kind:deliver state:failed").count() == 2, what="the retries that have tokens")
        until(lambda: app.jobs("kind:deliver state:scheduled").count() == 18, what="all others to be put off")
    due = sorted(run_at for job in jobs if (run_at := job.status().run_at) is not None)
    apart = [(later - sooner).total_seconds() for sooner, later in pairwise(due)]
    assert len(due) == 18
    assert apart == pytest.approx([30] * 17, abs=5)


def test_what_comes_back_to_its_old_place_is_found_behind_the_mark(postgres_url: str) -> None:
    """No sweep from the start helps: lanes in which jobs are held, and return, have no mark."""
    tuning = Tuning(mark_sweep_interval=3600.0, mark_lag=0.0)
    app = ph.Posthorse(postgres_url, lease="6s", poll="0.1s", tuning=tuning)
    go = threading.Event()

    @app.job(concurrency=ph.Concurrency(1, per="key"))
    def limited(key: str, is_first: bool = False) -> None:
        assert not is_first or go.wait(30)

    with app.worker(concurrency=4):
        first, second = app.enqueue_many([limited.bind("a", is_first=True), limited.bind("a")])
        until_state(second, "blocked")
        for _ in range(4):  # they move the mark past its place
            limited.enqueue("b").result(timeout=30)
        go.set()
        for job in (first, second):
            job.result(timeout=30)
    app.close()


def test_of_those_whom_a_gate_holds_the_most_urgent_goes_first(app: ph.Posthorse) -> None:
    began, go = threading.Event(), threading.Event()
    order: list[str] = []

    @app.job(concurrency=ph.Concurrency(1, per="key"))
    def limited(key: str, name: str) -> None:
        order.append(name)
        if name == "first":
            began.set()
            assert go.wait(30)

    with app.worker(concurrency=4):
        jobs = [limited.enqueue("a", "first")]
        assert began.wait(30)
        for name, priority in (("plain", 0), ("urgent", 5), ("plain, too", 0)):
            jobs.append(limited.using(priority=priority).enqueue("a", name))
            until_state(jobs[-1], "blocked")
        go.set()
        for job in jobs:
            job.result(timeout=30)
    assert order == ["first", "urgent", "plain", "plain, too"]


def test_where_nobody_can_be_told_that_a_place_is_free_the_runner_itself_knows(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = ph.Posthorse(store_url, lease="1m", poll="1h", tuning=Tuning(shut_gate_interval=3600.0))
    arun = cast("Callable[[Store, Operation[object]], Awaitable[object]]", Store.arun)

    async def shaky(self: Store, operation: Operation[object]) -> object:
        if cast("partial[object]", operation.start).func.__name__ == "let_through":
            raise StoreUnreachable("away")
        return await arun(self, operation)

    monkeypatch.setattr(Store, "arun", shaky)
    began, go = threading.Event(), threading.Event()

    @app.job(concurrency=1)
    def limited() -> None:
        began.set()
        assert go.wait(30)

    with app.worker(concurrency=4):
        first = limited.enqueue()
        assert began.wait(30)
        second = limited.enqueue()
        threading.Event().wait(0.2)  # the runner looks, and finds the gate shut
        go.set()
        for job in (first, second):
            job.result(timeout=30)
    app.close()


@pytest.mark.parametrize("ends_by", ["returning", "failing", "snoozing", "being cancelled"])
def test_however_a_job_ends_those_before_its_gate_go_on_at_once(store_url: str, ends_by: str) -> None:
    """Its runner reports it: the sweep, which would find them later, does not look."""
    tuning = Tuning(gates_interval=3600.0, free_gates_interval=3600.0)
    app = ph.Posthorse(store_url, lease="1m", poll="1h", tuning=tuning)
    began, go = threading.Event(), threading.Event()

    @app.job(concurrency=ph.Concurrency(1, per="key"), max_attempts=1)
    def limited(ctx: ph.Context, key: str, ends_by: str) -> None:
        if ends_by == "nothing":
            return
        began.set()
        assert go.wait(30)
        while ends_by == "being cancelled":
            ctx.checkpoint()
        if ends_by == "failing":
            raise ValueError
        if ends_by == "snoozing":
            raise ph.Snooze("1h")

    with app.worker(concurrency=2):
        first = limited.enqueue("a", ends_by)
        assert began.wait(30)
        second = limited.enqueue("a", "nothing")
        until_state(second, "blocked")
        if ends_by == "being cancelled":
            first.cancel()
        go.set()
        second.result(timeout=30)
    app.close()


def test_a_limit_that_is_set_live_where_there_was_none_holds_at_once(app: ph.Posthorse, floor: Floor) -> None:
    @app.job(queue="calls")
    def ring(n: int) -> None:
        with floor.enter("calls", n):
            threading.Event().wait(0.01)

    with app.worker(concurrency=6):
        ring.enqueue(0).result(timeout=30)
        app.queue("calls").set(concurrency=1)
        ring.enqueue(1).result(timeout=30)
        threading.Event().wait(1.0)  # the runner learns of it within a second
        floor.most.clear()
        for job in app.enqueue_many([ring.bind(n) for n in range(12)]):
            job.result(timeout=30)
        assert floor.most["calls"] == 1
        app.queue("calls").reset()


def test_a_gate_that_is_opened_live_is_passed_at_once(app: ph.Posthorse) -> None:
    @app.job(queue="calls")
    async def ring(n: int) -> None: ...

    app.queue("calls").set(rate=ph.Rate("1/h", burst=1))
    with app.worker():
        first, second = app.enqueue_many([ring.bind(n) for n in range(2)])
        first.result(timeout=30)
        threading.Event().wait(0.2)  # the runner looks, and finds the gate shut for an hour
        assert second.status().state == "pending"
        app.queue("calls").reset()
        second.result(timeout=30)
