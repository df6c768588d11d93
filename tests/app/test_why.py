"""`job.why()` returns the true reason in every situation, on every store. Each situation is brought about for real."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

import posthorse as ph
from posthorse.app.unserved_warnings import UnservedWarnings
from posthorse.app.verbs import Verb
from posthorse.app.why import why_of
from posthorse.clock import Clock, moment
from posthorse.maintenance.chores.rescue import rescue
from posthorse.rules.job import Lane
from posthorse.rules.lifecycle import Policy
from posthorse.rules.outcomes import Crashed, Lost, Outcome
from posthorse.rules.tuning import Tuning
from posthorse.store.operations.claim import Claimed, Probe, claim
from posthorse.store.operations.runners import Runner, beat, held_by, promote, register, retire
from posthorse.store.operations.store_facts import store_now
from tests.waiting import until_state

MINUTE = 60_000_000


class Situation:
    """An application with a few kinds, and registered runners that do nothing on their own."""

    def __init__(self, url: str, tuning: Tuning) -> None:
        self.clock = Clock()
        self.app = ph.Posthorse(url, clock=self.clock, tuning=tuning)
        self.app.migrate()
        self.resize = self.app.job(queue="media")(resize)
        self.go_on = threading.Event()

    def runner(
        self,
        *,
        kinds: tuple[str, ...] = ("resize",),
        queues: tuple[str, ...] = (),
        labels: tuple[str, ...] = (),
        concurrency: int = 10,
        lease: int = MINUTE,
    ) -> str:
        runner = Runner(str(uuid.uuid4()), "web-1", "web", 7, "0", concurrency, queues, kinds, labels)
        self.app.store.run(register(runner, lease=lease))
        return runner.id

    def claim(self, runner: str, *, count: int = 1, solo: bool = False) -> list[Claimed]:
        lane = Lane("media", "resize", solo=solo)
        number = self.app.store.lanes({lane})[lane]
        return self.app.store.run(claim(runner, [Probe(number, 0, 0)], count))

    def lose(self, runner: str, outcome: Outcome) -> None:
        for held in self.app.store.read(held_by(runner)):
            asyncio.run(rescue(self.app.store, held, outcome, Policy()))


def resize(photograph: int = 0) -> None: ...


def codes(why: ph.Why) -> list[str]:
    return [str(reason.code) for reason in why.reasons]


@pytest.fixture
def it(store_url: str, tuning: Tuning) -> Iterator[Situation]:
    situation = Situation(store_url, tuning)
    yield situation
    situation.go_on.set()
    situation.app.close()


def never(why: ph.Why) -> bool:
    """Return whether the start is unknown, with a reason."""
    return why.start is not None and why.start.earliest is why.start.latest is None and bool(why.start.basis)


# ── the queue and the workers ────────────────────────────────────────────────────────────────────────


def test_no_worker(it: Situation) -> None:
    job = it.resize.enqueue()
    why = job.why()
    assert (codes(why), str(why), never(why)) == (["no_worker"], "No worker is alive.", True)
    assert why.leading.command == "posthorse worker --app MODULE:APP"
    it.runner(lease=MINUTE)
    it.clock.advance(timedelta(minutes=2))
    why = asyncio.run(job.awhy())
    assert (codes(why), str(why)) == (["no_worker"], "No worker is alive; web-1 fell silent.")


def test_no_living_worker_knows_the_kind(it: Situation) -> None:
    it.runner(kinds=("resizes",))
    why = it.resize.enqueue().why()
    assert codes(why) == ["no_kind"]
    assert str(why) == "No living worker knows its kind 'resize'; the nearest that one knows is 'resizes'."


def test_no_living_worker_takes_from_the_queue(it: Situation) -> None:
    it.runner(queues=("mail",))
    it.runner(kinds=("letter",), queues=("media",))
    why = it.resize.enqueue().why()
    assert codes(why) == ["no_queue"]
    assert str(why) == "No living worker that knows its kind takes from its queue 'media'."
    assert why.leading.command == "posthorse worker --app MODULE:APP -q media"


def test_no_living_worker_has_the_labels(it: Situation) -> None:
    it.app.queue("media").set(labels={"gpu": "yes", "zone": "a"})
    it.runner(labels=("gpu=yes",))
    why = it.resize.enqueue().why()
    assert codes(why) == ["no_labels"]
    assert str(why) == "No living worker has the labels that its queue 'media' requires: gpu=yes, zone=a."
    assert why.leading.command == "posthorse worker --app MODULE:APP --label gpu=yes --label zone=a"
    it.runner(labels=("gpu=yes", "zone=a"))
    assert codes(it.resize.enqueue().why()) == ["ahead"]


def test_all_workers_are_stopping(it: Situation) -> None:
    runner = it.runner()
    it.app.store.run(beat(runner, lease=MINUTE, running=0, draining=True))
    why = it.resize.enqueue().why()
    assert (codes(why), str(why)) == (
        ["draining"],
        "All living workers that would take it are stopping: web-1.",
    )
    it.runner()
    assert codes(it.resize.enqueue().why()) == ["ahead"]


def test_a_paused_queue_leads_and_the_rest_follows(it: Situation) -> None:
    job = it.resize.enqueue()
    it.app.queue("media").pause()
    why = job.why()
    assert (codes(why), str(why), never(why)) == (["queue_paused", "no_worker"], "Its queue 'media' is paused.", True)
    assert why.leading.command == "posthorse queues resume media"
    it.app.queue("media").resume()
    it.runner()
    assert codes(job.why()) == ["next"]


def test_outside_of_the_window(it: Situation) -> None:
    now = moment(it.app.store.read(store_now()))
    opens = (now + timedelta(hours=2)).replace(second=0, microsecond=0)
    it.app.queue("media").set(window=f"{opens:%H:%M}-{opens + timedelta(hours=1):%H:%M}")
    it.runner()
    why = it.resize.enqueue().why()
    assert codes(why) == ["window"]
    assert f"{opens:%Y-%m-%d %H:%M:%S} UTC" in str(why)
    assert why.start is not None
    assert (why.start.earliest, why.start.latest) == (opens, None)
    it.app.queue("media").set(window="00:00-24:00")
    assert codes(it.resize.enqueue().why()) == ["ahead"]


# ── its turn ─────────────────────────────────────────────────────────────────────────────────────────


def test_next_and_ahead(it: Situation) -> None:
    it.runner()
    first, second, urgent = it.resize.enqueue(), it.resize.enqueue(), it.resize.using(priority=5).enqueue()
    assert codes(urgent.why()) == ["next"]
    assert codes(first.why()) == codes(second.why()) == ["ahead"]
    assert str(second.why()) == "It takes its turn: 2 jobs are ahead of it in its queue 'media'."
    assert never(second.why()), "no job started, so there is no pace"
    it.app.queue("media").set(order="lifo")
    assert first.why().leading.facts["ahead"] == 2
    assert second.why().leading.facts["ahead"] == 1


def test_jobs_of_kinds_that_no_worker_knows_are_not_ahead(it: Situation) -> None:
    other = it.app.job(queue="media")(letter)
    it.runner()
    other.enqueue()
    assert codes(it.resize.enqueue().why()) == ["next"]


def letter() -> None: ...


def test_tenants_of_a_fair_queue_take_turns(it: Situation) -> None:
    it.app.queue("media", fair=True)
    it.runner()
    for _ in range(3):
        it.resize.using(tenant="large").enqueue()
    assert codes(it.resize.using(tenant="small").enqueue().why()) == ["next"]
    why = it.resize.using(tenant="large").enqueue().why()
    assert str(why) == "It takes its turn: 3 jobs are ahead of it, of its own tenant; 2 tenants take turns."
    assert never(why)


def test_full_workers_and_the_pace_of_the_queue(it: Situation) -> None:
    runner = it.runner(concurrency=1)
    done = [it.resize.enqueue() for _ in range(10)]
    with it.app.worker():
        for job in done:
            until_state(job, "completed")
    waiting = [it.resize.enqueue() for _ in range(4)]
    it.claim(runner)
    why = waiting[3].why()
    assert codes(why) == ["full", "ahead"]
    assert str(why) == "Every place of the workers that would take it is taken: 1 of 1, in web-1."
    assert why.reasons[1].facts["ahead"] == 2
    assert why.start is not None
    assert why.start.earliest is not None
    assert why.start.latest is not None
    assert why.at <= why.start.earliest < why.start.latest
    assert why.start.basis.startswith("the last 10 starts in its queue")


def test_a_suspect_waits_in_quarantine(it: Situation) -> None:
    runner = it.runner()
    job = it.resize.enqueue()
    it.claim(runner)
    it.lose(runner, Crashed("killed by SIGKILL", alone=False))
    assert it.resize.enqueue().why().leading.code == "next"
    why = job.why()
    assert codes(why) == ["quarantine"]
    assert str(why) == (
        "It is a suspect, because its process died while it ran among others: it waits to run alone, in quarantine."
    )
    assert job.status().waits_for is None
    assert never(why)


# ── gates ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_full_concurrency_names_the_jobs_inside(it: Situation) -> None:
    it.app.queue("media", concurrency=1)
    busy = it.app.job(queue="media", kind="busy")(lambda: it.go_on.wait() and None)
    with it.app.worker():
        inside, waiting = busy.enqueue(), busy.enqueue()
        until_state(inside, "processing")
        why = waiting.why()
        assert codes(why) == ["concurrency"]
        assert str(why) == "Its limit is full: the concurrency of queue media lets 1 job run at a time, and 1 runs."
        assert [holder["id"] for holder in _holders(why)] == [inside.id]
        assert why.leading.command == f"posthorse show {inside.id}"
        assert never(why)
        it.go_on.set()
        until_state(waiting, "completed")


def test_a_job_that_is_held_for_a_value_says_which_and_how_many_are_ahead(it: Situation) -> None:
    def work(customer: int) -> None:
        it.go_on.wait()

    bill = it.app.job(queue="media", kind="bill", concurrency=ph.Concurrency(1, per="customer"))(work)
    with it.app.worker():
        inside, held, last = bill.enqueue(7), bill.enqueue(7), bill.enqueue(7)
        until_state(inside, "processing")
        until_state(held, "blocked")
        until_state(last, "blocked")
        why = last.why()
        assert codes(why) == ["concurrency"]
        assert str(why) == (
            "Its limit is full: the concurrency of kind bill, customer=7 lets 1 job run at a time, and 1 runs; "
            "1 more waits ahead."
        )
        assert [holder["id"] for holder in _holders(why)] == [inside.id]
        it.go_on.set()
        until_state(last, "completed")


def test_the_same_is_told_without_the_code_of_the_kind(it: Situation) -> None:
    def work(customer: int) -> None:
        it.go_on.wait()

    bill = it.app.job(queue="media", kind="bill", concurrency=ph.Concurrency(1, per="customer"))(work)
    stranger = ph.Posthorse(it.app.settings.url)
    with it.app.worker():
        inside, held = bill.enqueue(7), bill.enqueue(7)
        until_state(inside, "processing")
        until_state(held, "blocked")
        assert str(stranger.get_job(held.id).why()) == str(held.why())
        it.go_on.set()
        until_state(held, "completed")
    stranger.close()


def test_a_rate_says_when_its_turn_comes(it: Situation) -> None:
    def work(customer: int) -> None: ...

    report = it.app.job(queue="media", kind="report", rate=ph.Rate("1/h", per="customer"))(work)
    with it.app.worker():
        first, held, last = report.enqueue(7), report.enqueue(7), report.enqueue(7)
        until_state(first, "completed")
        until_state(held, "blocked")
        until_state(last, "blocked")
        one, two = held.why(), last.why()
        assert codes(one) == codes(two) == ["rate"]
        assert "the rate of kind report, customer=7 lets one job start every 1h" in str(one)
        assert ", and 1 waits ahead; its own turn comes in" in str(two)
        assert one.start is not None
        assert two.start is not None
        assert one.start.earliest is not None
        assert two.start.earliest is not None
        assert (one.start.latest, two.start.latest) == (None, None)
        assert two.start.earliest - one.start.earliest == timedelta(hours=1)
        assert timedelta(minutes=50) < one.start.earliest - one.at <= timedelta(hours=1)


def test_a_sequence_says_what_is_ahead(it: Situation) -> None:
    busy = it.app.job(queue="media", kind="busy")(lambda: it.go_on.wait() and None)
    chosen = busy.using(sequence="invoice-7")
    with it.app.worker():
        jobs = [chosen.enqueue() for _ in range(3)]
        until_state(jobs[0], "processing")
        until_state(jobs[2], "blocked")
        why = jobs[2].why()
        assert codes(why) == ["sequence"]
        assert str(why) == (
            f"It waits for its turn in sequence invoice-7: 2 jobs are ahead, and job {jobs[0].id} runs now."
        )
        assert why.leading.command == f"posthorse watch {jobs[0].id}"
        it.go_on.set()
        until_state(jobs[2], "completed")


def test_the_next_one_of_a_sequence_waits_for_one_that_waits_itself(it: Situation) -> None:
    chosen = it.resize.using(sequence="invoice-7")
    first, second = chosen.enqueue(), chosen.using(priority=5).enqueue()
    it.runner()
    why = second.why()
    assert codes(why) == ["sequence"]
    assert why.leading.facts["first"] == first.id
    assert why.leading.command == f"posthorse why {first.id}"
    assert codes(first.why()) == ["ahead"]


def test_a_dead_letter_blocks_its_sequence(it: Situation) -> None:
    def work() -> None:
        raise ValueError("no price")

    pay = it.app.job(queue="media", kind="pay", max_attempts=1)(work)
    with it.app.worker():
        dead = pay.using(sequence="invoice-7").enqueue()
        until_state(dead, "failed")
        behind = pay.using(sequence="invoice-7").enqueue()
        until_state(behind, "blocked")
        why = behind.why()
        assert codes(why) == ["dead_letter"]
        assert f"job {dead.id} failed for good (ValueError: no price); 1 job is ahead in all." in str(why)
        assert why.leading.command == f"posthorse retry {dead.id}"
        assert never(why)
        dead.discard()
        until_state(behind, "failed")


def test_a_held_job_whose_limit_has_room_again_is_lined_up_soon(it: Situation) -> None:
    def work(customer: int) -> None:
        it.go_on.wait()

    bill = it.app.job(queue="media", kind="bill", concurrency=ph.Concurrency(1, per="customer"))(work)
    with it.app.worker():
        inside, held = bill.enqueue(7), bill.enqueue(7)
        until_state(inside, "processing")
        until_state(held, "blocked")
        inside.cancel(force=True)
        it.runner(kinds=("bill",))
        assert held.why().leading.code in ("lining_up", "next", "running")
        it.go_on.set()


# ── what the job itself waits for ────────────────────────────────────────────────────────────────────


def test_paused(it: Situation) -> None:
    job = it.resize.enqueue()
    job.pause()
    why = job.why()
    assert codes(why) == ["paused", "no_worker"]
    assert str(why).startswith("It has been paused on request for ")
    assert why.leading.command == f"posthorse resume {job.id}"
    assert never(why)


def test_scheduled(it: Situation) -> None:
    due = datetime(2100, 1, 1, tzinfo=UTC)
    it.runner()
    why = it.resize.using(run_at=due).enqueue().why()
    assert codes(why) == ["scheduled"]
    assert str(why).endswith("(2100-01-01 00:00:00 UTC).")
    assert why.start == ph.Estimate(due, None, "its due time; then it takes its turn")


def test_due_and_not_lined_up(it: Situation) -> None:
    job = it.resize.using(delay="1h").enqueue()
    it.clock.advance(timedelta(hours=2))
    assert codes(job.why()) == ["no_worker", "lining_up"]
    it.runner()
    assert codes(job.why()) == ["lining_up"]
    it.app.store.run(promote(10))
    assert codes(job.why()) == ["next"]


def test_retry(it: Situation) -> None:
    def work() -> None:
        raise ValueError("no price")

    pay = it.app.job(queue="media", kind="pay", max_attempts=3, backoff="1h")(work)
    with it.app.worker():
        job = pay.enqueue()
        until_state(job, "scheduled")
        why = job.why()
    assert codes(why) == ["retry"]
    assert str(why).startswith("It failed, and waits for its next attempt (2 of 3), in ")
    assert str(why).endswith("The last error: ValueError: no price.")
    assert why.start is not None
    assert why.start.earliest == job.status().run_at


def test_snoozed(it: Situation) -> None:
    def work() -> None:
        raise ph.Snooze("1h", reason="the shop is closed")

    ask = it.app.job(queue="media", kind="ask")(work)
    with it.app.worker():
        job = ask.enqueue()
        until_state(job, "scheduled")
        why = job.why()
    assert codes(why) == ["snoozed"]
    assert str(why).endswith(": the shop is closed.")


def test_interrupted_again_and_again(it: Situation) -> None:
    runner = it.runner()
    job = it.resize.enqueue()
    for _ in range(2):
        it.claim(runner)
        it.lose(runner, Lost("its worker fell silent"))
    why = job.why()
    assert codes(why) == ["interrupted"]
    assert str(why).startswith("It waits, because its worker was lost again before it got any further")


def test_unfit(it: Situation) -> None:
    job = it.resize.enqueue(5)
    newer = ph.Posthorse(it.app.settings.url)

    @newer.job(queue="media", kind="resize")
    def _(photograph: int, width: int) -> None: ...

    with newer.worker():
        until_state(job, "blocked")
        why = job.why()
    assert codes(why) == ["unfit"]
    assert "do not fit the code of the worker that tried it" in str(why)
    assert "width" in str(why)
    assert never(why)
    newer.close()


# ── with a worker, or over ───────────────────────────────────────────────────────────────────────────


def test_running_and_asked_to_stop(it: Situation) -> None:
    runner = it.runner()
    job = it.resize.enqueue()
    it.claim(runner)
    why = job.why()
    assert (codes(why), why.start) == (["running"], None)
    assert str(why).startswith("It runs: worker web-1 (process 7 on web) has had it for ")
    job.pause()
    assert codes(job.why()) == ["running", "stopping"]
    assert job.why().reasons[1].command == f"posthorse pause --force {job.id}"


def test_claimed_ahead(it: Situation) -> None:
    runner = it.runner(concurrency=1)
    jobs = [it.resize.enqueue() for _ in range(3)]
    it.claim(runner, count=3)
    assert str(jobs[2].why()).endswith("It holds 3 jobs and runs 1 at a time, so this one may not have begun.")


def test_a_silent_worker_and_then_a_lost_one(it: Situation) -> None:
    runner = it.runner(lease=MINUTE)
    job = it.resize.enqueue()
    it.claim(runner)
    it.clock.advance(timedelta(seconds=50))
    why = job.why()
    assert codes(why) == ["silent_worker"]
    assert why.start is not None
    assert why.start.earliest is not None
    assert timedelta(seconds=5) < why.start.earliest - why.at <= timedelta(seconds=10)
    it.clock.advance(timedelta(seconds=20))
    why = job.why()
    assert codes(why) == ["lost_worker"]
    assert str(why) == ("Its worker web-1 was lost, and its lease has ended: no worker is alive that could free it.")
    assert never(why)
    it.runner()
    assert "a living worker frees it within a few seconds" in str(job.why())
    it.app.store.run(retire(runner))
    assert codes(job.why()) == ["lost_worker"]


def test_over(it: Situation) -> None:
    def work() -> None:
        raise ValueError("no price")

    pay = it.app.job(queue="media", kind="pay", max_attempts=1)(work)
    with it.app.worker():
        done, dead, gone = it.resize.enqueue(), pay.enqueue(), it.resize.using(delay="1h").enqueue()
        gone.cancel()
        until_state(done, "completed")
        until_state(dead, "failed")
    assert [codes(job.why()) for job in (done, dead, gone)] == [["completed"], ["failed"], ["cancelled"]]
    assert str(dead.why()).endswith("ago (failed in 1 attempt): ValueError: no price.")
    assert dead.why().leading.command == f"posthorse retry {dead.id}"
    assert dead.why().start is None


def test_a_job_that_does_not_exist(it: Situation) -> None:
    with pytest.raises(ph.JobNotFound):
        it.app.get_job("01936f5e-7c1a-7d2b-8e3f-0123456789ab").why()


# ── calls that wait ──────────────────────────────────────────────────────────────────────────────────


def test_a_timeout_says_why(it: Situation) -> None:
    job = it.resize.enqueue()
    it.app.queue("media").pause()
    with pytest.raises(TimeoutError) as caught:
        job.result(timeout=0.01)
    assert str(caught.value) == (
        f"job {job.id} was not over within 0.01 s; it goes on: its queue 'media' is paused; "
        f"see `posthorse why {job.id}`"
    )


@pytest.mark.tuning(worry_time=0.02)
def test_a_caller_that_waits_hears_that_no_worker_would_take_the_job(
    it: Situation, caplog: pytest.LogCaptureFixture
) -> None:
    job = it.resize.enqueue()
    with caplog.at_level(logging.WARNING, logger="posthorse.app"), pytest.raises(TimeoutError):
        job.result(timeout=0.3)
    [record] = caplog.records
    assert record.getMessage() == (
        f"job {job.id} (resize) is waited for, and it does not run: no worker is alive; start one: "
        "posthorse worker --app MODULE:APP"
    )
    caplog.clear()
    it.runner()
    with caplog.at_level(logging.WARNING, logger="posthorse.app"), pytest.raises(TimeoutError):
        job.result(timeout=0.3)
    assert not caplog.records


@pytest.mark.tuning(worry_time=0.02)
def test_of_many_callers_that_wait_one_asks_at_a_time_and_a_gap_is_logged_once(
    it: Situation, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [it.resize.enqueue() for _ in range(30)]
    asked: list[str] = []

    def noted(app: ph.Posthorse, job: str) -> Verb[ph.Why]:
        asked.append(job)
        return why_of(app, job)

    async def wait() -> None:
        await asyncio.gather(*(job.aresult(timeout=0.3) for job in jobs), return_exceptions=True)

    monkeypatch.setattr("posthorse.app.why.why_of", noted)
    monkeypatch.setattr(it.app.unserved_warnings, "has_turn", lambda interval: len(asked) < 5)
    with caplog.at_level(logging.WARNING, logger="posthorse.app"):
        asyncio.run(wait())
    assert len(asked) - len(jobs) == 5, "each of the others asks once, to say in its TimeoutError why"
    assert len(caplog.records) == 1


def test_turns_to_ask_are_an_interval_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("posthorse.app.unserved_warnings.monotonic", lambda: now[0])
    warnings = UnservedWarnings()
    assert [warnings.has_turn(5), warnings.has_turn(5)] == [True, False]
    now[0] += 5
    assert [warnings.has_turn(5), warnings.has_turn(5)] == [True, False]


def test_a_job_that_changes_while_it_is_looked_at_is_looked_at_again(it: Situation) -> None:
    jobs: list[ph.Job[None]] = []

    def value(customer: int) -> int:
        if jobs and jobs[0].status().state == "pending":
            jobs[0].pause()
        return customer

    def work(customer: int) -> None: ...

    bill = it.app.job(queue="media", kind="bill", concurrency=ph.Concurrency(1, per=value))(work)
    jobs.append(bill.enqueue(7))
    why = jobs[0].why()
    assert (why.state, codes(why)) == ("paused", ["paused", "no_worker"])


def test_it_works_inside_a_transaction(it: Situation) -> None:
    with it.app.store.transaction():
        job = it.resize.enqueue()
        assert codes(job.why()) == ["no_worker"]


def _holders(why: ph.Why) -> list[dict[str, object]]:
    holders = why.leading.facts["holders"]
    assert isinstance(holders, list)
    return holders
