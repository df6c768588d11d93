"""Flows: steps that take the outputs of others run in their order, and their flow ends with them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

import posthorse as ph
from posthorse.app.flow import Flow
from posthorse.worker.running import flow_map
from tests.waiting import until, until_state


@dataclass
class Order:
    number: int
    day: date


class Shop:
    """An application whose jobs note when they ran."""

    def __init__(self, app: ph.Posthorse) -> None:
        self.app = app
        self.ran: list[str] = []
        self.is_mended = False
        ran = self.ran

        @app.job
        def fetch(count: int) -> list[Order]:
            ran.append("fetch")
            return [Order(number, date(2026, 11, 1)) for number in range(count)]

        @app.job
        async def total(orders: list[Order], bonus: int = 0) -> int:
            ran.append("total")
            return sum(order.number for order in orders) + bonus

        @app.job
        def add(*parts: int) -> int:
            ran.append("add")
            return sum(parts)

        @app.job(backoff=0)
        def send(text: str) -> str:
            ran.append(f"send {text}")
            return f"sent {text}"

        @app.job(max_attempts=1)
        def fail(number: int = 0) -> int:
            ran.append("fail")
            if self.is_mended:
                return number
            raise ValueError("no figures")

        @app.job
        def note(what: str) -> None:
            ran.append(what)

        self.fetch, self.total, self.add, self.send, self.fail, self.note = fetch, total, add, send, fail, note


@pytest.fixture
def shop(app: ph.Posthorse) -> Shop:
    return Shop(app)


@pytest.fixture
def offline() -> Iterator[Shop]:
    """Yield an application for what does not use the store."""
    app = ph.Posthorse("sqlite:////nowhere/jobs.db")
    yield Shop(app)
    app.close()


def three_steps(shop: Shop) -> Flow:
    flow = shop.app.workflow("monthly", context={"month": "2026-11"})
    orders = flow.add(shop.fetch, 4)
    first = flow.add(shop.total, orders.output, bonus=10)
    flow.add(shop.add, first.output, first.output)
    return flow


# ── building ─────────────────────────────────────────────────────────────────────────────────────────


def test_outputs_are_arguments_that_are_checked_when_they_are_there(offline: Shop) -> None:
    flow = offline.app.workflow("monthly")
    orders = flow.add(offline.fetch, 4)
    node = flow.add(offline.total, orders.output, bonus=10)
    assert (orders.name, node.name) == ("fetch", "total")
    assert repr(node) == "<Node 'total' of flow 'monthly'>"
    assert repr(flow) == "<Flow 'monthly' of 2 steps>"
    with pytest.raises(ph.InvalidArgument, match=r"total\(\): argument bonus must be int; got str 'x'"):
        flow.add(offline.total, orders.output, bonus="x")  # type: ignore[arg-type]
    assert repr(flow) == "<Flow 'monthly' of 2 steps>"


def test_a_call_with_outputs_belongs_to_its_flow(offline: Shop) -> None:
    flow = offline.app.workflow("monthly")
    call = offline.total.bind(flow.add(offline.fetch, 4).output)
    for enqueue in (call.enqueue, lambda: offline.app.enqueue_many([call]), lambda: asyncio.run(call.aenqueue())):
        with pytest.raises(ph.InvalidCall, match="argument orders is the output of step 'fetch' of flow 'monthly'"):
            enqueue()
    with pytest.raises(ph.InvalidOption, match="a schedule has no flow"):
        offline.app.schedule(call, name="s", every="1h")


def test_words_of_the_step_go_to_the_flow_unless_the_kind_takes_them(offline: Shop) -> None:
    @offline.app.job
    def choose(step: int, after: str) -> None: ...

    flow = offline.app.workflow("monthly")
    first = flow.add(offline.note, "a", after=(), step="begin")
    assert first.name == "begin"
    second = flow.add(choose, step=1, after="noon")
    third = flow.add(choose.bind(1, "noon"), after=[first, second], step="last")
    assert (second.name, third.name) == ("choose", "last")


WRONG: dict[str, tuple[Any, str]] = {
    "a function": (lambda shop, flow: flow.add(print), "takes a kind with its arguments, a call or a flow"),
    "a bound call": (lambda shop, flow: flow.add(shop.note.bind("a"), "b"), "is bound already"),
    "another word": (lambda shop, flow: flow.add(shop.note.bind("a"), need=()), "give only after=, needs=, step="),
    "a name": (lambda shop, flow: flow.add(shop.note.bind("a"), step=7), "the name of a step is 7"),
    "after": (lambda shop, flow: flow.add(shop.note, "a", after="fetch"), "after is 'fetch'; give steps"),
    "needs": (lambda shop, flow: flow.add(shop.note, "a", after=(), needs="done"), "needs is 'done'"),
    "needs of none": (lambda shop, flow: flow.add(shop.note, "a", after=(), needs="over"), "and none is given"),
    "a key": (lambda shop, flow: flow.add(shop.note.using(key="k"), "a"), "give the key to the whole flow"),
    "unique": (lambda shop, flow: flow.add(shop.note.using(unique=True), "a"), "add note.using\\(unique=False\\)"),
    "a connection": (
        lambda shop, flow: flow.add(shop.note.using(connection=sqlite3.connect(":memory:")), "a"),
        "give the connection to it",
    ),
    "a result": (lambda shop, flow: setattr(flow, "result", 7), "must be the output of a step of this flow"),
    "its own part": (lambda shop, flow: flow.add(flow), "is a part of flow"),
    "a timeout": (lambda shop, flow: flow.using(timeout="1m"), "timeout belongs to its steps"),
    "a kind's name": (lambda shop, flow: shop.app.workflow("note"), "'note' is a kind of this application"),
    "a context": (lambda shop, flow: shop.app.workflow("x", context=[1]), "context is \\[1\\]; give a dict"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_a_part_of_a_flow_is_refused(offline: Shop, wrong: str) -> None:
    attempt, message = WRONG[wrong]
    flow = offline.app.workflow("monthly")
    with pytest.raises(ph.InvalidOption, match=message):
        attempt(offline, flow)
    assert repr(flow) == "<Flow 'monthly' of 0 steps>"


def test_steps_of_another_flow_are_refused(offline: Shop) -> None:
    flow, other = offline.app.workflow("monthly"), offline.app.workflow("yearly")
    node = other.add(offline.fetch, 1)
    for attempt in (
        lambda: flow.add(offline.total, node.output),
        lambda: flow.add(offline.note, "a", after=node),
        lambda: setattr(flow, "result", node.output),
    ):
        with pytest.raises(ph.InvalidOption, match="step 'fetch' belongs to flow 'yearly' and not to 'monthly'"):
            attempt()


def test_flows_that_contain_each_other_are_refused(offline: Shop) -> None:
    outer, middle, inner = (offline.app.workflow(name) for name in ("outer", "middle", "inner"))
    outer.add(middle)
    middle.add(inner)
    with pytest.raises(ph.InvalidOption, match="flow 'inner' is a part of flow 'outer'"):
        inner.add(outer)


def test_what_depends_on_the_arguments_cannot_depend_on_an_output(offline: Shop) -> None:
    @offline.app.job(concurrency=ph.Concurrency(1, per="customer"))
    def ship(customer: int, parcel: int) -> None: ...

    flow = offline.app.workflow("monthly")
    output = flow.add(offline.add, 1, 2).output
    flow.add(ship, 7, output)
    with pytest.raises(ph.InvalidOption, match="the concurrency of 'ship' is divided by its argument 'customer'"):
        flow.add(ship, output, 7)
    with pytest.raises(ph.InvalidOption, match="orders is known only when the job runs"):
        offline.total.using(key="k").bind(flow.add(offline.fetch, 1).output)


# ── running ──────────────────────────────────────────────────────────────────────────────────────────


def test_three_steps_run_in_their_order_with_their_outputs(shop: Shop) -> None:
    job = three_steps(shop).enqueue()
    before = job.status()
    assert (before.kind, before.state, before.progress.done, before.progress.total) == ("monthly", "blocked", 0, 3)
    with shop.app.worker():
        assert job.result(timeout="30s") == 32
    after = job.status()
    assert (after.state, after.progress.done, after.progress.total) == ("completed", 3, 3)
    assert shop.ran == ["fetch", "total", "add"]


def test_a_flow_is_awaited_like_a_job(shop: Shop) -> None:
    async def run() -> object:
        job = await three_steps(shop).aenqueue()
        return await job.aresult(timeout="30s")

    with shop.app.worker():
        assert asyncio.run(run()) == 32


def test_a_flow_can_be_stored_again_and_again(shop: Shop) -> None:
    flow = three_steps(shop)
    jobs = [flow.enqueue(), flow.enqueue()]
    with shop.app.worker():
        assert [job.result(timeout="30s") for job in jobs] == [32, 32]
    assert sorted(shop.ran) == sorted(["fetch", "total", "add"] * 2)


def test_a_key_gives_the_same_flow_and_stores_nothing_twice(shop: Shop) -> None:
    flow = three_steps(shop).using(key="2026-11", tags=["books"])
    first, second = flow.enqueue(), flow.enqueue()
    assert (first.created, second.created, first.id == second.id) == (True, False, True)
    assert shop.app.jobs().count() == 4
    assert first.status().tags == ("books",)
    with pytest.raises(ph.KeyConflict):
        shop.app.workflow("monthly", context={"month": "2026-12"}).using(key="2026-11").enqueue()


def test_steps_take_the_tenant_and_the_priority_of_their_flow_unless_they_have_their_own(shop: Shop) -> None:
    flow = shop.app.workflow("monthly")
    flow.add(shop.note, "a")
    flow.add(shop.note.using(tenant="other", priority=3), "b")
    job = flow.using(tenant="acme", priority=7).enqueue()
    steps = {node.name: shop.app.get_job(node.id).status() for node in job.graph().nodes}
    assert {name: (status.tenant, status.priority) for name, status in steps.items()} == {
        "note": ("acme", 7),
        "note-2": ("other", 3),
    }
    assert (job.status().tenant, job.status().priority) == ("acme", 7)


def test_a_delay_concerns_the_first_steps(shop: Shop) -> None:
    job = three_steps(shop).using(delay="1h").enqueue()
    assert {node.name: str(node.state) for node in job.graph().nodes} == {
        "fetch": "scheduled",
        "total": "blocked",
        "add": "blocked",
    }


def test_a_result_that_does_not_fit_ends_the_step_at_once_and_says_why(shop: Shop) -> None:
    flow = shop.app.workflow("monthly")
    text = flow.add(shop.send, "a")
    flow.add(shop.add, text.output, step="misfit")
    job = flow.enqueue()
    with shop.app.worker():
        until_state(job, "failed")
    [misfit] = [node for node in job.graph().nodes if node.name == "misfit"]
    status = shop.app.get_job(misfit.id).status()
    assert (status.state, status.attempt) == ("failed", 1)
    assert status.error is not None
    assert "do not fit add() as it is now: Expected `int`, got `str`".replace("`", "") in status.error.message
    with pytest.raises(ph.JobFailed, match="1 of 2 children failed"):
        job.result(timeout="30s")


def test_a_failure_skips_what_needs_success_and_runs_what_needs_failure_or_any_end(shop: Shop) -> None:
    flow = shop.app.workflow("monthly")
    bad = flow.add(shop.fail, 1)
    flow.add(shop.add, bad.output)
    flow.add(shop.note, "apology", after=bad, needs="failed", step="apologise")
    flow.add(shop.note, "tidied", after=bad, needs="over", step="tidy_up")
    good = flow.add(shop.note, "good", step="good")
    flow.add(shop.note, "never", after=good, needs="failed", step="never")
    job = flow.enqueue()
    with shop.app.worker():
        until_state(job, "failed")
    nodes = {node.name: node for node in job.graph().nodes}
    assert {name: str(node.state) for name, node in nodes.items()} == {
        "fail": "failed",
        "add": "cancelled",
        "apologise": "completed",
        "tidy_up": "completed",
        "good": "completed",
        "never": "cancelled",
    }
    assert nodes["add"].reason == f"skipped: needs {nodes['fail'].id}, which failed"
    assert sorted(shop.ran) == ["apology", "fail", "good", "tidied"]


def test_a_retried_step_lets_its_flow_go_on(shop: Shop) -> None:
    flow = shop.app.workflow("monthly")
    flow.add(shop.add, flow.add(shop.fail, 1).output)
    job = flow.enqueue()
    with shop.app.worker():
        until_state(job, "failed")
        [failed] = [node.id for node in job.graph().nodes if node.name == "fail"]
        shop.is_mended = True
        shop.app.get_job(failed).retry()
        assert job.result(timeout="30s") == 1
    assert str(job.status().state) == "completed"


def test_steps_run_after_jobs_that_exist_already(shop: Shop) -> None:
    earlier = shop.note.enqueue("earlier")
    flow = shop.app.workflow("monthly")
    flow.add(shop.note, "later", after=earlier)
    job = flow.enqueue()
    with shop.app.worker():
        job.result(timeout="30s")
    assert shop.ran == ["earlier", "later"]
    assert [node.name for node in job.graph().nodes] == ["note", "note"]


def test_the_result_of_a_flow_is_that_of_the_step_that_was_chosen(shop: Shop) -> None:
    flow = three_steps(shop)
    flow.result = flow.add(shop.send, "a").output
    assert repr(flow.result) == "<output of step 'send' of flow 'monthly'>"
    job = flow.enqueue()
    with shop.app.worker():
        assert job.result(timeout="30s") == "sent a"


def test_a_flow_with_several_last_steps_returns_nothing(shop: Shop) -> None:
    flow = shop.app.workflow("monthly")
    flow.add(shop.send, "a")
    flow.add(shop.send, "b")
    job = flow.enqueue()
    with shop.app.worker():
        assert job.result(timeout="30s") is None


def test_a_flow_without_steps_is_completed_at_once(shop: Shop) -> None:
    assert shop.app.workflow("monthly").enqueue().result(timeout="30s") is None


def test_a_flow_is_a_step_of_another_and_gives_its_result(shop: Shop) -> None:
    inner = shop.app.workflow("inner")
    inner.add(shop.send, "b", after=inner.add(shop.send, "a"))
    outer = shop.app.workflow("outer")
    begun = outer.add(shop.note, "first")
    middle = outer.add(inner, after=begun, step="letters")
    outer.add(shop.send, middle.output)  # type: ignore[call-overload]
    job = outer.enqueue()
    with shop.app.worker():
        assert job.result(timeout="30s") == "sent sent b"
    assert shop.ran == ["first", "send a", "send b", "send sent b"]
    assert [(node.name, node.is_flow) for node in job.graph().nodes] == [
        ("note", False),
        ("letters", True),
        ("send", False),
    ]


def test_a_flow_that_is_skipped_takes_all_its_steps_along(shop: Shop) -> None:
    inner = shop.app.workflow("inner")
    inner.add(shop.note, "tidy", after=inner.add(shop.send, "a"), needs="over")
    outer = shop.app.workflow("outer")
    middle = outer.add(inner, after=outer.add(shop.fail))
    outer.add(shop.note, "last", after=middle)
    job = outer.enqueue()
    with shop.app.worker():
        until_state(job, "failed")
    states = {node.name: str(node.state) for node in job.graph().nodes}
    assert states == {"fail": "failed", "inner": "cancelled", "note": "cancelled"}
    assert shop.ran == ["fail"]


def test_a_flow_is_a_part_of_the_transaction_of_its_user(shop: Shop, sqlite_url: str) -> None:
    if not shop.app.settings.url.startswith("sqlite"):
        pytest.skip("one driver is enough: the others are tested with single jobs")
    shop.app.migrate()
    path = shop.app.settings.url.removeprefix("sqlite:///")
    connection = sqlite3.connect(path)
    connection.execute("BEGIN IMMEDIATE")
    three_steps(shop).using(connection=connection).enqueue()
    connection.rollback()
    assert shop.app.jobs().count() == 0
    connection.execute("BEGIN IMMEDIATE")
    job = three_steps(shop).using(connection=connection).enqueue()
    connection.commit()
    connection.close()
    with shop.app.worker():
        assert job.result(timeout="30s") == 32


def test_inputs_pass_the_codecs(store_url: str) -> None:
    class Reversing:
        mark = "rev"

        def pack(self, text: str, about: ph.About) -> str:
            return f"{about.job} {text[::-1]}"

        def unpack(self, packed: str, about: ph.About) -> str:
            job, _, text = packed.partition(" ")
            assert job == about.job
            return text[::-1]

    app = ph.Posthorse(store_url, codecs=[Reversing()])
    job = three_steps(Shop(app)).enqueue()
    with app.worker():
        assert job.result(timeout="30s") == 32
    app.close()


# ── inside a step ────────────────────────────────────────────────────────────────────────────────────


def test_a_step_knows_its_flow_and_what_came_before(shop: Shop) -> None:
    told: list[object] = []
    atold: list[object] = []

    @shop.app.job
    def look(ctx: ph.Context, number: int) -> None:
        place = ctx.flow
        assert place is not None
        previous = place.previous_steps()
        told.extend([place.id, place.step, place.context(), [(one.name, one.needs) for one in previous]])
        told.extend(place.output(one) for one in previous)

    @shop.app.job
    async def alook(ctx: ph.Context) -> None:
        place = ctx.flow
        assert place is not None
        [previous] = await place.aprevious_steps()
        atold.extend([await place.acontext(), previous.name, str(previous.state)])
        with pytest.raises(ph.InvalidCall, match=r"step 'fail' has no output, because job .* is failed"):
            await place.aoutput(previous)

    flow = shop.app.workflow("monthly", context={"user_id": 456})
    number = flow.add(shop.add, 1, 2, step="count")
    flow.add(look, number.output, after=flow.add(shop.send, "a"))
    job = flow.enqueue()
    other = shop.app.workflow("other", context={"a": None})
    other.add(alook, after=other.add(shop.fail), needs="over")
    failing = other.enqueue()
    with shop.app.worker():
        job.result(timeout="30s")
        until_state(failing, "failed")
    assert told[:4] == [job.id, "look", {"user_id": 456}, [("count", "completed"), ("send", "completed")]]
    assert told[4:] == [3, "sent a"]
    assert atold == [{"a": None}, "fail", "failed"]


def test_a_job_outside_of_flows_has_none(shop: Shop) -> None:
    @shop.app.job
    def look(ctx: ph.Context) -> bool:
        return ctx.flow is None

    job = look.enqueue()
    with shop.app.worker():
        assert job.result(timeout="30s") is True


# ── the picture ──────────────────────────────────────────────────────────────────────────────────────


def test_the_graph_tells_states_times_needs_and_the_critical_path(shop: Shop) -> None:
    job = three_steps(shop).enqueue()
    graph = job.graph()
    names = {node.id: node.name for node in graph.nodes}
    assert [node.name for node in graph.nodes] == ["fetch", "total", "add"]
    assert {(names[edge.job], names[edge.dependent], edge.needs, edge.is_met) for edge in graph.edges} == {
        ("fetch", "total", "completed", False),
        ("total", "add", "completed", False),
    }
    assert (graph.critical_path, graph.is_whole) == ([], True)
    with shop.app.worker():
        job.result(timeout="30s")
    graph = asyncio.run(job.agraph())
    assert [names[each] for each in graph.critical_path] == ["fetch", "total", "add"]
    assert all(edge.is_met for edge in graph.edges)
    for node in graph.nodes:
        assert node.started_at is not None
        assert node.finished_at is not None
        assert node.created_at <= node.started_at <= node.finished_at
    short = job.graph(limit=2)
    assert ([node.name for node in short.nodes], short.is_whole) == (["fetch", "total"], False)


def test_a_graph_of_a_job_that_is_no_flow_has_its_neighbours(shop: Shop) -> None:
    earlier = shop.note.enqueue("a")
    assert [node.id for node in earlier.graph().nodes] == []
    flow = shop.app.workflow("monthly")
    flow.add(shop.note, "b", after=earlier, step="b")
    flow.enqueue()
    assert [node.name for node in earlier.graph().nodes] == ["note", "b"]
    with pytest.raises(ph.JobNotFound):
        shop.app.get_job("01936f5e-7c1a-7d2b-8e3f-0123456789ab").graph()
    with pytest.raises(ph.InvalidOption, match="limit is 0"):
        earlier.graph(limit=0)


# ── chains ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_chain_hands_each_result_to_the_next_call(shop: Shop) -> None:
    calls = shop.fetch.bind(4), shop.total.bind(ph.previous, bonus=1), shop.note.bind("between"), shop.send.bind("a")
    job = shop.app.chain(*calls, name="four").enqueue()
    with shop.app.worker():
        assert job.result(timeout="30s") == "sent a"
    assert shop.ran == ["fetch", "total", "between", "send a"]
    assert job.status().kind == "four"


def test_a_chain_that_cannot_be_is_refused(offline: Shop) -> None:
    with pytest.raises(ph.InvalidOption, match="a chain needs calls"):
        offline.app.chain()
    with pytest.raises(ph.InvalidOption, match=r"'total' comes first in its chain, so there is no ph\.previous"):
        offline.app.chain(offline.total.bind(ph.previous))
    with pytest.raises(ph.InvalidOption, match="an argument must be the output of a step"):
        offline.app.workflow("x").add(offline.total, ph.previous)


# ── skipping ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_step_that_skips_itself_takes_along_what_needs_it_and_its_flow_completes(shop: Shop) -> None:
    attempts: list[int] = []

    @shop.app.job
    def photos(ctx: ph.Context) -> int:
        attempts.append(ctx.attempt)
        raise ph.Skip("no photos")

    flow = shop.app.workflow("album")
    found = flow.add(photos)
    flow.add(shop.add, found.output)
    flow.add(shop.note, "tidied", after=found, needs="over")
    job = flow.enqueue()
    with shop.app.worker():
        assert job.result(timeout="30s") is None
    nodes = {node.name: (str(node.state), node.reason) for node in job.graph().nodes}
    assert nodes["photos"] == ("cancelled", "skipped: no photos")
    assert nodes["add"][0] == "cancelled"
    assert nodes["note"] == ("completed", None)
    assert (str(job.status().state), attempts, shop.ran) == ("completed", [1], ["tidied"])


# ── callbacks ────────────────────────────────────────────────────────────────────────────────────────


def with_callbacks(shop: Shop, kind: ph.Kind[[int], int]) -> ph.Kind[[int], int]:
    @shop.app.job
    def succeeded(job_id: str, number: int) -> None:
        shop.ran.append(f"{job_id} gave {number}")

    @shop.app.job
    def failed(job_id: str) -> None:
        shop.ran.append(f"{job_id} failed")

    return kind.using(on_success=succeeded.bind(ph.ended, ph.previous), on_failure=[failed.bind(ph.ended)])


@pytest.mark.parametrize("is_mended", [True, False])
def test_the_callback_for_the_end_of_a_job_starts_and_the_other_is_skipped(shop: Shop, is_mended: bool) -> None:
    shop.is_mended = is_mended
    job = with_callbacks(shop, shop.fail).enqueue(7)
    assert shop.app.jobs("state:blocked").count() == 2
    with shop.app.worker():
        until_state(job, "completed", "failed")
        for node in job.graph().nodes:
            until_state(shop.app.get_job(node.id), "completed", "failed", "cancelled")
    assert shop.ran == ["fail", f"{job.id} gave 7" if is_mended else f"{job.id} failed"]
    assert sorted((node.kind, str(node.state)) for node in job.graph().nodes) == [
        ("fail", "completed" if is_mended else "failed"),
        ("failed", "cancelled" if is_mended else "completed"),
        ("succeeded", "completed" if is_mended else "cancelled"),
    ]


def test_callbacks_have_callbacks_and_many_jobs_at_once_have_theirs(shop: Shop) -> None:
    shop.is_mended = True
    last = shop.note.bind("last")
    middle = shop.note.using(on_success=last)
    jobs = shop.app.enqueue_many([shop.fail.using(on_success=middle.bind("middle")).bind(1), shop.note.bind("alone")])
    assert len(jobs) == 2
    assert asyncio.run(shop.note.using(on_success=last).aenqueue("b")).created
    assert shop.app.jobs().count() == 6
    with shop.app.worker():
        until(lambda: shop.app.jobs("state:completed").count() == 6)
    assert sorted(shop.ran) == sorted(["fail", "middle", "last", "alone", "b", "last"])


def test_an_earlier_job_keeps_its_own_callbacks(shop: Shop) -> None:
    shop.is_mended = True
    first = with_callbacks(shop, shop.fail).using(key="k").enqueue(7)
    second = shop.fail.using(key="k", on_success=shop.note.bind("late")).enqueue(7)
    assert (second.id, second.created) == (first.id, False)
    assert shop.app.jobs().count() == 3


def test_a_flow_has_callbacks(shop: Shop) -> None:
    flow = shop.app.workflow("monthly")
    flow.add(shop.fail)
    flow.using(on_failure=shop.send.bind(ph.ended)).enqueue()
    with shop.app.worker():
        until(lambda: any(ran.startswith("send") for ran in shop.ran))


WRONG_CALLBACKS: dict[str, tuple[Any, str]] = {
    "a function": (lambda shop: shop.note.using(on_success=print), "on_success is <built-in"),
    "another application": (
        lambda shop: shop.note.using(on_failure=ph.Posthorse("sqlite:////no.db").job(lambda_).bind()),
        "belongs to another application",
    ),
    "a connection": (
        lambda shop: shop.note.using(on_success=shop.note.using(connection=sqlite3.connect(":memory:")).bind("a")),
        "give the connection to the job",
    ),
    "a result of a failure": (
        lambda shop: shop.note.using(on_failure=shop.send.bind(ph.previous)).enqueue("a"),
        "argument text is ph.previous, and a job that failed has no result",
    ),
    "an output of a step": (
        lambda shop: shop.note.using(on_success=shop.add.bind(shop.app.workflow("x").add(shop.add, 1).output)).enqueue(
            "a"
        ),
        "a callback knows only the job that ended",
    ),
    "in a step": (
        lambda shop: shop.app.workflow("x").add(shop.note.using(on_success=shop.note.bind("b")), "a"),
        "'note' has a callback; in a flow that is a step",
    ),
    "with an output": (
        lambda shop: shop.add.using(on_success=shop.note.bind("b")).bind(shop.app.workflow("x").add(shop.add).output),
        "'add' takes an output and has a callback",
    ),
    "in a schedule": (
        lambda shop: shop.app.schedule(shop.note.using(on_success=shop.note.bind("b")).bind("a"), name="s", every="1h"),
        "a schedule has no callbacks",
    ),
}


def lambda_() -> None: ...


@pytest.mark.parametrize("wrong", WRONG_CALLBACKS)
def test_a_callback_that_cannot_be_is_refused(offline: Shop, wrong: str) -> None:
    attempt, message = WRONG_CALLBACKS[wrong]
    with pytest.raises(ph.InvalidOption, match=message):
        attempt(offline)


# ── for each item of a list ──────────────────────────────────────────────────────────────────────────


def test_a_kind_runs_for_each_item_of_a_list_that_a_step_returned(shop: Shop) -> None:
    @shop.app.job
    def double(order: Order) -> Order:
        return Order(2 * order.number, order.day)

    flow = shop.app.workflow("doubling", context={"a": 1})
    doubled = flow.map(double, flow.add(shop.fetch, 7).output)
    flow.add(shop.total, doubled.output)
    job = flow.enqueue()
    with shop.app.worker():
        assert job.result(timeout="30s") == 42
    [_, each, _] = job.graph().nodes
    assert (each.name, each.kind, each.is_flow) == ("double", "double[]", True)
    listed = shop.app.get_job(each.id)
    assert listed.result() == [Order(2 * number, date(2026, 11, 1)) for number in range(7)]
    assert (listed.status().progress.done, listed.status().progress.total) == (8, 8)
    names = [node.name for node in listed.graph().nodes]
    assert names == ["fetch", "double", *(f"double[{number}]" for number in range(7))]


def test_a_kind_runs_for_each_item_of_a_given_list(shop: Shop) -> None:
    flow = shop.app.workflow("sending")
    first = flow.add(shop.note, "first")
    sent = flow.map(shop.send, ["a", "b", "c"], after=first, step="letters")
    assert sent.name == "letters"
    job = flow.enqueue()
    with shop.app.worker():
        assert job.result(timeout="30s") == ["sent a", "sent b", "sent c"]
    assert shop.ran[0] == "first"


def test_an_empty_list_completes_at_once(shop: Shop) -> None:
    flow = shop.app.workflow("doubling")
    flow.map(shop.send, flow.add(empty_of(shop)).output)
    job = flow.enqueue()
    with shop.app.worker():
        assert job.result(timeout="30s") == []


def empty_of(shop: Shop) -> ph.Kind[[], list[str]]:
    @shop.app.job
    def nothing() -> list[str]:
        return []

    return nothing


def test_a_step_for_each_item_fails_if_one_fails_and_leaves_out_what_was_skipped(shop: Shop) -> None:
    @shop.app.job(max_attempts=1)
    def picky(number: int) -> int:
        if number == 1:
            raise ph.Skip("one")
        if number == 2 and not shop.is_mended:
            raise ValueError("two")
        return number

    flow = shop.app.workflow("picking")
    flow.map(picky, [0, 1, 2, 3])
    shop.is_mended = True
    good = flow.enqueue()
    with shop.app.worker():
        assert good.result(timeout="30s") == [0, 2, 3]
    shop.is_mended = False
    bad = flow.enqueue()
    with shop.app.worker():
        until_state(bad, "failed")


def test_a_list_of_thousands_is_spread_in_slices_that_survive_a_stop(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_map, "SLICE", 10)

    @shop.app.job
    def numbers() -> list[int]:
        return list(range(95))

    @shop.app.job(queue="numbers", tags=["n"])
    def count(number: int) -> int:
        return number

    flow = shop.app.workflow("counting")
    flow.map(count.using(priority=3), flow.add(numbers).output)
    job = flow.using(tenant="acme").enqueue()
    with shop.app.worker(queues=["default"]):
        until(lambda: shop.app.jobs("kind:numbers state:completed").count() == 1)
    with shop.app.worker():
        assert job.result(timeout="30s") == list(range(95))
    statuses = [one.status() for one in shop.app.jobs("kind:count")]
    assert len(statuses) == 96
    assert {(one.tenant, one.priority, one.queue, *one.tags) for one in statuses} == {("acme", 3, "numbers", "n")}


def test_an_item_that_does_not_fit_ends_the_step(shop: Shop) -> None:
    flow = shop.app.workflow("misfit")
    flow.map(shop.send, flow.add(shop.fetch, 2).output)  # type: ignore[misc]
    job = flow.enqueue()
    with shop.app.worker():
        until_state(job, "failed")


WRONG_LISTS: dict[str, tuple[Any, str]] = {
    "a text": (lambda shop, flow: flow.map(shop.send, "abc"), "items is 'abc'; give a list"),
    "nothing": (lambda shop, flow: flow.map(shop.send, []), "items is empty; leave the step out"),
    "outputs": (lambda shop, flow: flow.map(shop.send, [flow.add(shop.send, "a").output]), "add a step for each"),
    "a sequence": (
        lambda shop, flow: flow.map(shop.send.using(sequence="s"), flow.add(empty_of(shop)).output),
        "'send' is in a sequence",
    ),
}


@pytest.mark.parametrize("wrong", WRONG_LISTS)
def test_a_list_that_cannot_be_spread_is_refused(offline: Shop, wrong: str) -> None:
    attempt, message = WRONG_LISTS[wrong]
    with pytest.raises(ph.InvalidOption, match=message):
        attempt(offline, offline.app.workflow("x"))


def test_a_step_that_takes_an_output_is_retried_with_other_arguments(shop: Shop) -> None:
    """What it takes from others is not among the arguments that it was stored with."""

    @shop.app.job(max_attempts=1)
    def weigh(orders: list[Order], factor: int, note: str = "") -> str:
        if factor == 0:
            raise ValueError("no factor")
        return f"{factor * len(orders)}{note}"

    flow = shop.app.workflow("weighing")
    flow.add(weigh, flow.add(shop.fetch, 2).output, factor=0, note=" kg")
    with shop.app.worker():
        job = flow.enqueue()
        with pytest.raises(ph.JobFailed):
            job.result(timeout=30)
        failed = shop.app.get_job(job.graph().nodes[-1].id)
        with pytest.raises(ph.InvalidArgument, match="argument factor must be int"):
            failed.retry(arguments={"factor": "x"})
        failed.retry(arguments={"factor": 3})
        assert job.result(timeout=30) == "6 kg"
        assert shop.ran.count("fetch") == 1


def test_outputs_of_a_list_are_read_page_by_page(shop: Shop) -> None:
    @shop.app.job(max_attempts=1)
    def collect(ctx: ph.Context) -> list[object]:
        assert ctx.flow is not None
        one, many = ctx.flow.previous_steps()
        assert [one.is_list, many.is_list] == [False, True]
        with pytest.raises(ph.InvalidCall, match="step 'fetch' has one output"):
            ctx.flow.outputs(one)
        read = list(ctx.flow.outputs(many))
        for batch in ctx.slices(ctx.flow.outputs(many), size=2):
            read += batch
        return read

    flow = shop.app.workflow("collecting")
    first = flow.add(shop.fetch, 1)
    flow.add(collect, after=[first, flow.map(shop.send, ["a", "b", "c"])])
    with shop.app.worker():
        assert flow.enqueue().result(timeout=30) == ["sent a", "sent b", "sent c"] * 2
