"""Enqueuing, on every store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import accumulate

import msgspec
import pytest

from posthorse.clock import SECOND
from posthorse.errors import KeyConflict, UsageError
from posthorse.rules.job import Lane, NewJob, State
from posthorse.store.base import BoundQuery
from posthorse.store.operations import read, runners, submit
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.store_facts import store_now
from tests.store.yard import HOME, Yard

pytestmark = pytest.mark.all_postgres


def test_lanes_get_one_number_whoever_asks_first(yard: Yard) -> None:
    other = Yard(yard.store.url)
    wanted = {Lane("default", f"kind-{n}", n, solo) for n in (-100, 0, 100) for solo in (False, True)}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda store: dict(store.lanes(wanted)), [yard.store, other.store] * 4))
    other.store.close()
    assert all(answer == answers[0] for answer in answers)
    assert len(set(answers[0].values())) == len(wanted)


def test_job_is_pending_and_waits_in_its_lane(yard: Yard) -> None:
    [job] = yard.new(arguments='{"text":"\\u0000 \\" \\\\ é\\n{}"}')
    assert yard.submit([job]) == [(job.id, True)]
    row = yard.job(job.id)
    assert (row.state, row.kind, row.queue, row.errors) == ("pending", "work", "default", 0)
    assert yard.store.read(read.arguments(job.id)) == job.arguments
    assert yard.store.read(read.depths())[0][:4] == ("default", "work", 0, 1)
    yard.audit()


def test_all_of_a_job_is_stored(yard: Yard) -> None:
    [parent, job] = yard.new(2)
    job = msgspec.structs.replace(job, options='{"timeout":3.5}', tenant="a,b{}", tags='["x"]', parent=parent.id)
    yard.submit([job])
    row = yard.job(job.id)
    assert (row.options, row.tenant, row.tags) == ('{"timeout":3.5}', "a,b{}", '["x"]')


def test_thousand_jobs_enter_in_order(yard: Yard) -> None:
    jobs = yard.new(1000)
    yard.submit(jobs)
    claimed = yard.claim(yard.runner(), 1000)
    assert [job.job for job in claimed] == [job.id for job in jobs]


def test_a_heavy_call_takes_several_statements_and_enters_in_order_all_or_none(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    portions: list[int] = []
    inserting = submit._inserting

    def noting(jobs: Sequence[NewJob], lanes: Mapping[Lane, int], *, made_at: int) -> BoundQuery:
        if sum(portions) == 13:
            raise UsageError("in the midst")
        portions.append(len(jobs))
        return inserting(jobs, lanes, made_at=made_at)

    monkeypatch.setattr(submit, "_inserting", noting)
    monkeypatch.setattr(submit, "MAX_BATCH_BYTES", 100)
    jobs, more = (yard.new(7, arguments='{"text":"some thirty characters"}') for _ in range(2))
    yard.submit(jobs)
    with pytest.raises(UsageError, match="in the midst"):
        yard.submit(more)
    assert portions == [3, 3, 1, 3, 3]
    assert [claimed.job for claimed in yard.claim(yard.runner(), 20)] == [job.id for job in jobs]
    yard.audit()


def test_nothing_is_enqueued_when_nothing_is_given(yard: Yard) -> None:
    assert yard.submit([]) == []


@pytest.mark.parametrize("sizes", [(5,), (3, 2), (1, 1, 1, 1, 1)], ids=["mixed", "alike", "singly"])
@pytest.mark.parametrize("keyed", [False, True])
def test_submitting_the_same_ids_again_after_a_lost_reply_changes_nothing(
    yard: Yard, keyed: bool, sizes: Sequence[int]
) -> None:
    jobs = [*yard.new(3), *yard.new(2, delay=60 * SECOND)]
    if keyed:
        jobs = [msgspec.structs.replace(job, key=job.id, fingerprint="f") for job in jobs]
    calls = [jobs[end - size : end] for end, size in zip(accumulate(sizes), sizes, strict=True)]
    for call in calls:
        yard.submit(call)
    runner = yard.runner()
    done, held = yard.claim(runner, 2)
    yard.complete(Fence(done.job, done.epoch, runner))
    assert [answer.id for call in calls for answer in yard.submit(call)] == [job.id for job in jobs]
    assert [yard.state(job.id).value for job in jobs] == [
        "completed", "processing", "pending", "scheduled", "scheduled",
    ]  # fmt: skip
    assert yard.waiting() == 1
    assert held.job == jobs[1].id
    yard.audit()


def test_known_and_new_ids_may_come_together(yard: Yard) -> None:
    first, second = yard.new(2)
    yard.submit([first])
    yard.submit([first, second])
    assert [job.job for job in yard.claim(yard.runner(), 5)] == [first.id, second.id]


def test_key_leads_to_the_first_job(yard: Yard) -> None:
    first, second = yard.new(2, key="order 7", arguments='{"n":1}')
    assert yard.submit([first]) == [(first.id, True)]
    assert yard.submit([second]) == [(first.id, False)]
    assert yard.waiting() == 1


def test_key_within_one_call_makes_one_job(yard: Yard) -> None:
    first, second = yard.new(2, key="twice")
    answers = yard.submit([first, second])
    assert [answer.id for answer in answers] == [first.id, first.id]
    assert yard.waiting() == 1


def test_key_is_free_in_another_kind_and_tenant(yard: Yard) -> None:
    [here] = yard.new(key="k")
    [there] = yard.new(key="k", lane=Lane("default", "other"))
    elsewhere = msgspec.structs.replace(yard.new(key="k")[0], tenant="acme")
    assert [answer.created for answer in yard.submit([here, there, elsewhere])] == [True] * 3


def test_same_key_with_other_arguments_is_a_conflict_and_writes_nothing(yard: Yard) -> None:
    yard.submit(yard.new(key="k", arguments='{"n":1}'))
    plain, [keyed] = yard.new(3), yard.new(key="k", arguments='{"n":2}')
    with pytest.raises(KeyConflict, match="other arguments"):
        yard.submit([*plain, keyed])
    assert yard.waiting() == 1
    assert yard.store.read(read.job(plain[0].id)) is None


def test_key_survives_the_end_of_its_job(yard: Yard) -> None:
    first, second = yard.new(2, key="k")
    yard.submit([first])
    yard.complete(yard.claim_one())
    assert yard.submit([second]) == [(first.id, False)]


def test_same_key_racing_in_threads_makes_one_job(yard: Yard) -> None:
    other = Yard(yard.store.url)
    yard.store.lanes({HOME}), other.store.lanes({HOME})
    jobs = yard.new(24, key="race")
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: (yard, other)[n % 2].submit([jobs[n]])[0], range(len(jobs))))
    other.store.close()
    assert len({answer.id for answer in answers}) == 1
    assert sum(answer.created for answer in answers) == 1
    assert yard.waiting() == 1


def test_delayed_job_waits_for_its_time(yard: Yard) -> None:
    [job] = yard.enqueue(delay=10 * SECOND)
    assert yard.state(job) is State.SCHEDULED
    due = yard.store.read(runners.next_due()).job
    assert due is not None
    assert 8 * SECOND < due <= 10 * SECOND
    assert yard.promote() == 0
    yard.pass_time(seconds=11)
    assert yard.promote() == 1
    assert yard.state(job) is State.PENDING
    assert yard.store.read(runners.next_due()).job is None
    yard.audit()


def test_time_in_the_past_means_now(yard: Yard) -> None:
    jobs = yard.new(run_at=yard.store.read(store_now()) - 1) + yard.new(delay=0)
    yard.submit(jobs)
    assert [yard.state(job.id) for job in jobs] == [State.PENDING] * 2


def test_promotion_goes_by_time_then_in_parts(yard: Yard) -> None:
    late, early, middle = (yard.enqueue(delay=n * SECOND)[0] for n in (30, 10, 20))
    yard.pass_time(seconds=60)
    assert [yard.promote(2), yard.promote(2), yard.promote(2)] == [2, 1, 0]
    assert [job.job for job in yard.claim(yard.runner(lease=99 * SECOND), 3)] == [early, middle, late]


def test_ids_of_a_wrong_clock_are_refused(yard: Yard) -> None:
    for away in (timedelta(days=2), -timedelta(days=2)):
        jobs = yard.new(3)
        yard.store.clock.advance(away)
        with pytest.raises(UsageError, match="clock is 48 hours"):
            yard.submit(jobs)
        yard.store.clock.advance(-away)
    assert yard.waiting() == 0


def test_many_threads_enqueue_at_once(yard: Yard) -> None:
    yard.store.lanes({HOME})
    with ThreadPoolExecutor(16) as pool:
        ids = [id for found in pool.map(lambda _: yard.enqueue(5), range(40)) for id in found]
    assert sorted(job.job for job in yard.claim(yard.runner(), 300)) == sorted(ids)
