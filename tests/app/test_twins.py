"""The sync and async twins of every verb do the same wherever they are called: a table of verbs, and of places.

In each place, a verb must join the transaction that is open there. So some verbs are called after others whose effects
only that transaction sees; at the end it is rolled back, and the store must then be as it was.
"""

from __future__ import annotations

import asyncio
import sqlite3
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from typing import Any, NamedTuple

import psycopg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

import posthorse as ph
from posthorse.views.figures import Figures
from tests.app.test_public_face import twins
from tests.waiting import until, until_state


class Undone(Exception):
    """Raised to roll a transaction back."""


class World(NamedTuple):
    """The objects on which verbs are called."""

    app: ph.Posthorse
    double: ph.Kind[[int], int]
    over: ph.Job[int]
    failed: list[ph.Job[None]]
    with_bad_items: ph.Job[None]
    schedule: ph.Schedule[int]
    cut: ph.Job[None]
    shelves: dict[str, ph.Stock[int]]
    """One for each verb; `empty`, `take` and `take_many` find two results."""
    keyed: ph.KeyedStock[int, int]
    """It has results for 1 to 3."""

    def waiting(self) -> ph.Job[int]:
        return self.double.enqueue(1)

    def flow(self) -> ph.Flow:
        flow = self.app.workflow("doubling")
        flow.add(self.double, flow.add(self.double, 1).output)
        return flow

    def tagged(self, tag: str) -> ph.Jobs:
        self.double.using(tags=[tag]).enqueue(1)
        return self.app.jobs(f"tag:{tag}")

    def dead(self, tag: str) -> ph.Jobs:
        return self.app.jobs(f"state:failed tag:{tag}")


class Verb(NamedTuple):
    """A verb, the object and arguments of the call, and what it must return."""

    subject: Callable[[World], object]
    gives: object
    arguments: tuple[object, ...] = ()
    options: Mapping[str, object] = {}
    after: str | None = None
    """A verb to call on the same object first."""


DEAD = ("attempts", "discard", "retry", "retry_with", "delete", "Jobs.discard", "Jobs.retry")
"""The tags of the dead letters; each is there for one verb."""

VERBS = {
    "Call.enqueue": Verb(lambda world: world.double.bind(3), "a new job"),
    "KeyedStock.forget": Verb(lambda world: world.keyed, True, (2,)),
    "KeyedStock.get": Verb(lambda world: world.keyed, 2, (1,)),
    "KeyedStock.refresh": Verb(lambda world: world.keyed, "a new job", (1,)),
    "KeyedStock.refill": Verb(lambda world: world.keyed, 0),
    "KeyedStock.status": Verb(lambda world: world.keyed, 2),
    "KeyedStock.why": Verb(lambda world: world.keyed, "2 results are fresh"),
    "KeyedStock.empty": Verb(lambda world: world.keyed, 2),
    "Kind.enqueue": Verb(lambda world: world.double, "a new job", (3,)),
    "Posthorse.enqueue_many": Verb(lambda world: Many(world), ["a new job", "a new job"]),
    "Posthorse.send_event": Verb(lambda world: world.app, True, ("approved", 1), {"topic": "orders"}),
    "Flow.enqueue": Verb(lambda world: world.flow(), "a new job"),
    "Job.attempts": Verb(lambda world: world.failed[0], ["failed"]),
    "Job.bad_items": Verb(lambda world: world.with_bad_items, [0, 1], (), {"limit": 2}),
    "Job.cancel": Verb(lambda world: world.waiting(), "cancelled"),
    "Job.delete": Verb(lambda world: world.failed[4], None),
    "Job.discard": Verb(lambda world: world.failed[1], "cancelled"),
    "Job.events": Verb(lambda world: world.over, ["completed"], (2,)),
    "Job.graph": Verb(lambda world: world.over, [], (), {"limit": 2}),
    "Job.logs": Verb(lambda world: world.over, [], (), {"limit": 2}),
    "Job.parts": Verb(lambda world: world.cut, None, (2,)),
    "Job.pause": Verb(lambda world: world.waiting(), "paused", (), {"force": True}),
    "Job.result": Verb(lambda world: world.double.get_job(world.over.id), 14, (), {"timeout": 30}),
    "Job.resume": Verb(lambda world: world.waiting(), "pending", after="pause"),
    "Job.retry": Verb(lambda world: world.failed[2], "pending", (), {"arguments": {"number": 8}}),
    "Job.retry_bad_items": Verb(lambda world: world.with_bad_items, "pending"),
    "Job.retry_with": Verb(lambda world: world.failed[3], "pending", (8,)),
    "Job.status": Verb(lambda world: world.double.get_job(world.waiting().id), "paused", after="pause"),
    "Job.why": Verb(lambda world: world.over, "completed"),
    "Posthorse.figures": Verb(lambda world: world.app, "queue", (), {"by": "queue"}),
    "Jobs.cancel": Verb(lambda world: world.tagged("cancel"), 1),
    "Jobs.count": Verb(
        lambda world: world.app.jobs("kind:double state:paused"), 2
    ),  # Job.pause was before, and Job.status
    "Jobs.counted": Verb(lambda world: world.app.jobs("kind:double state:paused"), ph.Count(number=2, is_exact=True)),
    "Jobs.discard": Verb(lambda world: world.dead("Jobs.discard"), 1),
    "Jobs.page": Verb(lambda world: world.tagged("page"), 1),
    "Jobs.pause": Verb(lambda world: world.tagged("pause"), 1),
    "Jobs.resume": Verb(lambda world: world.tagged("resume"), 1, after="pause"),
    "Jobs.retry": Verb(lambda world: world.dead("Jobs.retry"), 1, (), {"rate": "10/s"}),
    "Queue.drain": Verb(lambda world: world.app.queue("drained"), None),
    "Queue.pause": Verb(lambda world: world.app.queue("paused"), None),
    "Queue.reset": Verb(lambda world: world.app.queue("reset"), None, ("paused",), after="pause"),
    "Queue.resume": Verb(lambda world: world.app.queue("resumed"), None, after="pause"),
    "Queue.set": Verb(lambda world: world.app.queue("set"), None, (), {"concurrency": 3}),
    "Queue.settings": Verb(lambda world: world.app.queue("asked"), True, after="pause"),
    "Schedule.pause": Verb(lambda world: world.schedule, None),
    "Schedule.resume": Verb(lambda world: world.schedule, None),
    "Schedule.status": Verb(lambda world: world.schedule, "paused", after="pause"),
    "Schedule.trigger": Verb(lambda world: world.schedule, "a new job"),
    "Stock.empty": Verb(lambda world: world.shelves["empty"], 2),
    "Stock.refill": Verb(lambda world: world.shelves["refill"], 2),
    "Stock.set_level": Verb(lambda world: world.shelves["set_level"], None, (3,)),
    "Stock.status": Verb(lambda world: world.shelves["set_level"], 0),
    "Stock.take": Verb(lambda world: world.shelves["take"], 8),
    "Stock.take_many": Verb(lambda world: world.shelves["take_many"], [8, 8], (5,)),
    "Stock.why": Verb(lambda world: world.shelves["set_level"], "0 of 3 results are on the shelf"),
}


class Many:
    """A subject whose calls enqueue two jobs at once."""

    def __init__(self, world: World) -> None:
        self._app = world.app
        self._calls = [world.double.bind(1), world.double.bind(2)]

    def enqueue_many(self) -> object:
        return self._app.enqueue_many(self._calls)

    async def aenqueue_many(self) -> object:
        return await self._app.aenqueue_many(self._calls)


def in_short(answer: object) -> object:
    """Return what two results must have in common."""
    match answer:
        case list():
            return [in_short(each) for each in answer]  # pyright: ignore[reportUnknownVariableType]  # of anything
        case ph.Job():
            return "a new job" if answer.created else "an old job"
        case ph.Status() | ph.ScheduleStatus():
            return answer.state
        case ph.Attempt():
            return answer.outcome
        case ph.Event():
            return answer.name
        case ph.Graph():
            return list(answer.nodes)
        case ph.BadItem():
            return answer.item
        case ph.QueueSettings():
            return answer.paused
        case ph.Page():
            return len(answer)
        case ph.Why():
            return answer.leading.code
        case Figures():
            return answer.by
        case ph.StockStatus():
            return answer.made
        case str() if "results are" in answer:
            return answer.partition(",")[0]
        case _:
            return answer


@pytest.fixture
def world(app: ph.Posthorse) -> World:
    @app.job
    def double(number: int) -> int:
        return 2 * number

    @app.job(max_attempts=1)
    def fail(number: int) -> None:
        raise ValueError(number)

    @app.job
    def tolerate(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(3), tolerate=3):
            for item in batch:
                with batch.tolerate(item):
                    raise LookupError(item)

    @app.job
    def made(number: int) -> int:
        return 2 * number

    schedule = app.schedule(double.bind(1), name="doubling", every="1h")
    over, with_bad_items = double.enqueue(7), tolerate.enqueue()
    failed = [fail.using(tags=[tag]).enqueue(1) for tag in DEAD]
    shelves = {
        name: app.stock(made.bind(4), level=2, name=name)
        for name in ("empty", "refill", "set_level", "take", "take_many")
    }
    keyed = app.stock(made, key="number", name="keyed")
    app.registry.stocks.clear()  # the worker does not fill them
    for name in ("empty", "take", "take_many"):
        shelves[name].refill()
    for number in (1, 2, 3):
        keyed.refresh(number)
    with app.worker():
        over.result(timeout=30)
        with_bad_items.result(timeout=30)
        for job in failed:
            until_state(job, "failed")
        until(lambda: not app.jobs("state:pending,processing").count(), what="the stocks are filled")
    return World(
        app, double, over, failed, with_bad_items, schedule, tolerate.using(shards=2).enqueue(), shelves, keyed
    )


def snapshot(world: World) -> object:
    """Return everything that verbs could change."""
    return (
        {job.id: job.status().state for job in world.app.jobs() if job.status().kind != "scene"},
        [world.app.queue(name).settings() for name in ("drained", "paused", "reset", "resumed", "set", "asked")],
        world.schedule.status().state,
        [(stock.status().made, stock.status().ordered) for stock in (*world.shelves.values(), world.keyed)],
    )


def call_all(called: dict[str, object]) -> dict[str, object]:
    """Return the result of each verb, called plainly."""
    answers: dict[str, object] = {}
    for name, subject in called.items():
        verb, method = VERBS[name], name.partition(".")[2]
        try:
            if verb.after is not None:
                getattr(subject, verb.after)()
            answers[name] = in_short(getattr(subject, method)(*verb.arguments, **verb.options))
        except Exception as error:
            answers[name] = error
    return answers


async def await_all(called: dict[str, object]) -> dict[str, object]:
    """Return the result of each verb's twin, awaited."""
    answers: dict[str, object] = {}
    for name, subject in called.items():
        verb, method = VERBS[name], name.partition(".")[2]
        try:
            if verb.after is not None:
                await getattr(subject, f"a{verb.after}")()
            answers[name] = in_short(await getattr(subject, f"a{method}")(*verb.arguments, **verb.options))
        except Exception as error:
            answers[name] = error
    return answers


EXPECTED = {name: verb.gives for name, verb in VERBS.items()}


def subjects(world: World) -> dict[str, object]:
    return {name: verb.subject(world) for name, verb in VERBS.items()}


def test_the_table_has_every_verb_with_a_twin() -> None:
    of_jobs_themselves = {
        "Batch.commit",
        "Context.add",
        "Context.add_many",
        "Context.checkpoint",
        "Context.join",
        "Context.sleep",  # these are called in tests/worker/test_steps, test_children and test_waiting_for_events
        "Context.step",
        "Context.wait_event",
        "FlowStep.context",  # these are called in tests/app/test_flows
        "FlowStep.output",
        "FlowStep.previous_steps",
    }
    of_commands = {"CommandBus.handle", "CommandBus.enqueue"}  # they are kinds, and tested in test_commands
    assert {f"{face.__name__}.{name}" for face, name, _ in twins()} - of_jobs_themselves - of_commands == VERBS.keys()


# ── without a transaction ────────────────────────────────────────────────────────────────────────────


def test_every_verb_works_by_itself(world: World) -> None:
    assert call_all(subjects(world)) == EXPECTED


def test_every_twin_works_by_itself(world: World) -> None:
    assert asyncio.run(await_all(subjects(world))) == EXPECTED


# ── inside a transaction ─────────────────────────────────────────────────────────────────────────────


@contextmanager
def on_their_connection(app: ph.Posthorse) -> Iterator[Any]:
    """Open a blocking connection of the user's to the store's database."""
    url = app.store.url
    if app.store.backend.capabilities.is_file:
        connection: Any = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=10)
    else:
        connection = psycopg.connect(url)
    try:
        yield connection
    finally:
        connection.close()


@asynccontextmanager
async def on_their_async_connection(app: ph.Posthorse) -> AsyncIterator[Any]:
    """Open an asynchronous connection of the user's to the store's database."""
    url = app.store.url
    address = url.replace("sqlite:", "sqlite+aiosqlite:").replace("postgresql:", "postgresql+psycopg:")
    engine = create_async_engine(address)
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


def inside(block: AbstractContextManager[object], called: dict[str, object]) -> dict[str, object]:
    with suppress(Undone), block:
        answers = call_all(called)
        raise Undone
    return answers


async def ainside(block: AbstractContextManager[object], called: dict[str, object]) -> dict[str, object]:
    with suppress(Undone), block:
        answers = await await_all(called)
        raise Undone
    return answers


async def inside_async(block: AbstractAsyncContextManager[object], called: dict[str, object]) -> dict[str, object]:
    with suppress(Undone):
        async with block:
            answers = await await_all(called)
            raise Undone
    return answers


def a_verb_in_a_transaction(world: World, called: dict[str, object]) -> dict[str, object]:
    return inside(world.app.store.transaction(), called)


def a_verb_on_their_connection(world: World, called: dict[str, object]) -> dict[str, object]:
    with on_their_connection(world.app) as connection:
        return inside(world.app.store.transaction(connection), called)


def a_verb_in_a_job(world: World, called: dict[str, object]) -> dict[str, object]:
    answers: dict[str, object] = {}

    @world.app.job(queue="scene", max_attempts=1)
    def scene(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(1)):
            answers.update(inside(batch.transaction(), called))

    with world.app.worker(queues=["scene"]):
        scene.enqueue().result(timeout=60)
    return answers


def a_twin_in_a_transaction(world: World, called: dict[str, object]) -> dict[str, object]:
    return asyncio.run(ainside(world.app.store.transaction(), called))


def a_twin_in_an_async_transaction(world: World, called: dict[str, object]) -> dict[str, object]:
    return asyncio.run(inside_async(world.app.store.atransaction(), called))


def a_twin_on_their_connection(world: World, called: dict[str, object]) -> dict[str, object]:
    with on_their_connection(world.app) as connection:
        return asyncio.run(inside_async(world.app.store.atransaction(connection), called))


def a_twin_on_their_async_connection(world: World, called: dict[str, object]) -> dict[str, object]:
    async def scene() -> dict[str, object]:
        async with on_their_async_connection(world.app) as connection:
            return await inside_async(world.app.store.atransaction(connection), called)

    return asyncio.run(scene())


def a_twin_in_a_job(world: World, called: dict[str, object]) -> dict[str, object]:
    answers: dict[str, object] = {}

    @world.app.job(queue="scene", max_attempts=1)
    async def scene(ctx: ph.Context) -> None:
        async for batch in ctx.slices(range(1)):
            answers.update(await inside_async(batch.transaction(), called))

    with world.app.worker(queues=["scene"]):
        scene.enqueue().result(timeout=60)
    return answers


PLACES = [
    a_verb_in_a_transaction,
    a_verb_on_their_connection,
    a_verb_in_a_job,
    a_twin_in_a_transaction,
    a_twin_in_an_async_transaction,
    a_twin_on_their_connection,
    a_twin_on_their_async_connection,
    a_twin_in_a_job,
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: str(place.__name__))
def test_every_verb_joins_the_transaction_that_is_open(
    world: World, place: Callable[[World, dict[str, object]], dict[str, object]]
) -> None:
    called = subjects(world)
    before = snapshot(world)
    assert place(world, called) == EXPECTED
    assert snapshot(world) == before


# ── a blocking call inside a running loop ────────────────────────────────────────────────────────────


async def call_all_in_a_loop(called: dict[str, object]) -> dict[str, object]:
    return call_all(called)


WAITS_FOR_JOBS = "Job.result"


def is_refused(answers: dict[str, object], name: str) -> bool:
    error = answers.pop(name)
    return isinstance(error, ph.InvalidCall) and "would block the running event loop" in str(error)


def test_a_blocking_verb_inside_a_running_loop_works_and_warns_at_the_line_of_its_caller(world: World) -> None:
    called = subjects(world)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answers = asyncio.run(call_all_in_a_loop(called))
    assert is_refused(answers, WAITS_FOR_JOBS)
    assert answers == {name: gives for name, gives in EXPECTED.items() if name != WAITS_FOR_JOBS}
    assert {(one.category, one.filename) for one in caught} == {(RuntimeWarning, __file__)}
    said = " ".join(str(one.message) for one in caught)
    for name in answers:
        method = "enqueue" if "enqueue" in name else name.partition(".")[2]
        assert f"{method}() inside a running event loop" in said
        assert f".a{method}()" in said


def test_a_warning_that_is_an_error_comes_before_anything_is_done(world: World) -> None:
    called = subjects(world)
    before = snapshot(world)
    answers = asyncio.run(call_all_in_a_loop(called))
    assert is_refused(answers, WAITS_FOR_JOBS)
    assert {type(answer) for answer in answers.values()} == {RuntimeWarning}
    assert snapshot(world) == before


def test_inside_a_blocking_transaction_no_verb_warns(world: World) -> None:
    """The transaction itself blocks the loop, and a twin would block it, too."""

    async def scene(called: dict[str, object]) -> dict[str, object]:
        return inside(world.app.store.transaction(), called)

    answers = asyncio.run(scene(subjects(world)))
    assert is_refused(answers, WAITS_FOR_JOBS)
    assert answers == {name: gives for name, gives in EXPECTED.items() if name != WAITS_FOR_JOBS}


def test_inside_an_async_transaction_a_blocking_verb_is_told_to_await_its_twin(world: World) -> None:
    async def scene(called: dict[str, object]) -> dict[str, object]:
        async with world.app.store.atransaction():
            return call_all(called)

    called = subjects(world)
    before = snapshot(world)
    answers = asyncio.run(scene(called))
    assert is_refused(answers, WAITS_FOR_JOBS)
    for name, answer in answers.items():
        assert isinstance(answer, ph.StoreError), name
        assert "await the a-prefixed twin" in str(answer)
    assert snapshot(world) == before


def test_a_full_queue_is_not_waited_for_inside_a_running_loop(world: World) -> None:
    world.app.queue("narrow", max_depth=1)
    narrow = world.double.using(queue="narrow", block="30s")
    narrow.enqueue(1)

    async def scene() -> None:
        with pytest.warns(RuntimeWarning, match="aenqueue"), pytest.raises(ph.InvalidCall, match="waits for jobs"):
            narrow.enqueue(2)

    asyncio.run(scene())


# ── iteration ────────────────────────────────────────────────────────────────────────────────────────


def test_jobs_are_iterated_in_both_colours(world: World) -> None:
    found = world.app.jobs("kind:double")

    async def scene() -> list[ph.Job[object]]:
        return [job async for job in found]

    async def scene_inside() -> list[ph.Job[object]]:
        async with world.app.store.atransaction():
            new = await world.double.aenqueue(3)
            return [job async for job in found if job != new]

    async def blocking_scene() -> list[ph.Job[object]]:
        with pytest.warns(RuntimeWarning, match="write `async for`"):
            return list(found)

    alone = list(found)
    assert alone == [world.over]
    assert asyncio.run(scene()) == asyncio.run(scene_inside()) == alone
    assert len(asyncio.run(blocking_scene())) == 2
