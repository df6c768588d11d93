"""Resources: made by their providers for each job or once for a process, and cleaned up whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest

import posthorse as ph
from tests.waiting import until, until_state

AnyKind = ph.Kind[..., Any]
steps: list[object] = []
both = pytest.mark.parametrize("is_async", [False, True], ids=["thread", "async"])


@pytest.fixture(autouse=True)
def no_steps() -> None:
    steps.clear()


class Session:
    """A resource that notes what happens to it."""

    def __init__(self) -> None:
        self.is_open = True


def session() -> Iterator[Session]:
    made = Session()
    steps.append("open")
    try:
        yield made
    except BaseException as error:
        steps.append(type(error).__name__)
        raise
    else:
        steps.append("done")
    finally:
        made.is_open = False


async def asession() -> AsyncIterator[Session]:
    with contextlib.contextmanager(session)() as made:
        await asyncio.sleep(0)
        yield made
        await asyncio.sleep(0)


@contextlib.contextmanager
def managed() -> Iterator[Session]:
    yield from session()


@contextlib.asynccontextmanager
async def amanaged() -> AsyncIterator[Session]:
    with managed() as made:
        yield made


async def later() -> contextlib.AbstractAsyncContextManager[Session]:
    await asyncio.sleep(0)
    return amanaged()


providers: list[Callable[..., Any]] = [session, asession, managed, amanaged, later]
each_provider = pytest.mark.parametrize("provider", providers, ids=[each.__name__ for each in providers])


def either(app: ph.Posthorse, is_async: bool, function: Callable[..., Any], *, max_attempts: int = 5) -> AnyKind:
    """Declare a job in one of both colours."""

    @functools.wraps(function)
    async def awaited(*args: object, **kwargs: object) -> object:
        return function(*args, **kwargs)

    declared: Callable[..., Any] = awaited if is_async else function
    return app.job(max_attempts=max_attempts)(declared)


def settings() -> Iterator[dict[str, int]]:
    steps.append("settings")
    yield {"pool": 4}
    steps.append("settings end")


def pool(of: Annotated[dict[str, int], ph.depends(settings)]) -> Iterator[list[int]]:
    steps.append("pool")
    yield [of["pool"]]
    steps.append("pool end")


Seven = Annotated[int, ph.depends(lambda: 7)]


# ── what a job gets, and when that is cleaned up ─────────────────────────────────────────────────────


@both
@each_provider
def test_a_resource_is_open_while_its_job_runs_and_cleaned_up_after_it(
    app: ph.Posthorse, is_async: bool, provider: Callable[..., Any]
) -> None:
    def double(number: int, db: Session = ph.depends(provider)) -> int:
        steps.append(db.is_open)
        return 2 * number

    kind = either(app, is_async, double)
    with app.worker():
        assert kind.enqueue(21).result(timeout=30) == 42
        assert kind.enqueue(number=4).result(timeout=30) == 8
    assert steps == ["open", True, "done"] * 2


@both
@each_provider
def test_a_provider_sees_the_error_of_its_job_and_cleans_up(
    app: ph.Posthorse, is_async: bool, provider: Callable[..., Any]
) -> None:
    def fail(db: Session = ph.depends(provider)) -> None:
        raise ValueError("of the job's own")

    kind = either(app, is_async, fail, max_attempts=1)
    with app.worker():
        status = until_state(kind.enqueue(), "failed")
    assert str(status.error) == "ValueError: of the job's own"
    assert steps == ["open", "ValueError"]
    assert status.error is not None
    assert "worker/running" not in str(status.error.traceback)
    assert "rules/middleware" not in str(status.error.traceback)


@both
def test_what_returns_without_a_clean_up_is_handed_over(app: ph.Posthorse, is_async: bool) -> None:
    async def number() -> int:
        return 4

    def text() -> str:
        return "four"

    class Settings:
        def __init__(self, of: str = ph.depends(text)) -> None:
            self.of = of

    def tell(n: int = ph.depends(number), s: Settings = ph.depends(Settings)) -> list[object]:
        return [n, s.of]

    with app.worker():
        assert either(app, is_async, tell).enqueue().result(timeout=30) == [4, "four"]


@both
def test_providers_may_depend_on_others_and_each_makes_one_value_for_a_job(app: ph.Posthorse, is_async: bool) -> None:
    def use(
        first: list[int] = ph.depends(pool),
        second: list[int] = ph.depends(pool),
        of: dict[str, int] = ph.depends(settings),
    ) -> list[object]:
        return [first is second, first, of["pool"]]

    with app.worker():
        assert either(app, is_async, use).enqueue().result(timeout=30) == [True, [4], 4]
    assert steps == ["settings", "pool", "pool end", "settings end"]


@both
def test_a_provider_may_take_the_context_though_its_job_does_not(app: ph.Posthorse, is_async: bool) -> None:
    def identity(ctx: ph.Context) -> str:
        return ctx.job_id

    def tell(me: str = ph.depends(identity)) -> str:
        return me

    def tell_both(ctx: ph.Context, me: str = ph.depends(identity)) -> bool:
        return me == ctx.job_id

    with app.worker():
        job = either(app, is_async, tell).enqueue()
        assert job.result(timeout=30) == job.id
        assert either(app, is_async, tell_both).enqueue().result(timeout=30) is True


@both
def test_a_provider_that_fails_is_an_error_of_the_job_and_others_are_cleaned_up(
    app: ph.Posthorse, is_async: bool
) -> None:
    def broken(of: Session = ph.depends(session)) -> Session:
        raise ConnectionError("no database")

    def use(db: Session = ph.depends(broken)) -> None:
        steps.append("ran")

    with app.worker():
        status = until_state(either(app, is_async, use, max_attempts=1).enqueue(), "failed")
    assert str(status.error) == "ConnectionError: no database"
    assert steps == ["open", "ConnectionError"]


@both
def test_a_clean_up_that_fails_fails_the_job_and_the_next_ones_still_run(app: ph.Posthorse, is_async: bool) -> None:
    def sour(of: Session = ph.depends(session)) -> Iterator[int]:
        yield 1
        raise OSError("disk full")

    def use(number: int = ph.depends(sour)) -> None: ...

    with app.worker():
        status = until_state(either(app, is_async, use, max_attempts=1).enqueue(), "failed")
    assert str(status.error) == "OSError: disk full"
    assert steps == ["open", "OSError"]


@both
def test_an_error_that_a_provider_swallows_still_fails_the_job(app: ph.Posthorse, is_async: bool) -> None:
    def swallow() -> contextlib.suppress:
        return contextlib.suppress(ValueError)

    def fail(nothing: None = ph.depends(swallow)) -> None:
        raise ValueError("still there")

    with app.worker():
        status = until_state(either(app, is_async, fail, max_attempts=1).enqueue(), "failed")
    assert str(status.error) == "ValueError: still there"


@both
def test_what_never_yields_or_yields_twice_fails_with_words(app: ph.Posthorse, is_async: bool) -> None:
    def never() -> Iterator[int]:
        yield from ()

    def twice() -> Iterator[int]:
        yield 1
        yield 2

    def use_never(number: int = ph.depends(never)) -> None: ...

    def use_twice(number: int = ph.depends(twice)) -> None: ...

    with app.worker():
        status = until_state(either(app, is_async, use_never, max_attempts=1).enqueue(), "failed")
        assert "never() ended without a yield; it yields the resource once" in str(status.error)
        status = until_state(either(app, is_async, use_twice, max_attempts=1).enqueue(), "failed")
        assert "provider twice() must yield once" in str(status.error)


def test_a_plain_function_that_returns_an_awaitable_keeps_its_resource_until_that_was_awaited(
    app: ph.Posthorse,
) -> None:
    async def work(db: Session, other: Session) -> list[bool]:
        await asyncio.sleep(0)
        return [db.is_open, other.is_open]

    @app.job
    def wrapped(db: Session = ph.depends(session), other: Session = ph.depends(asession)) -> object:
        return work(db, other)

    with app.worker():
        assert wrapped.enqueue().result(timeout=30) == [True, True]
    assert steps == ["open", "open", "done", "done"]


# ── stops ────────────────────────────────────────────────────────────────────────────────────────────


@both
@pytest.mark.parametrize("verb", ["pause", "cancel"])
def test_a_stop_at_a_checkpoint_cleans_up(app: ph.Posthorse, is_async: bool, verb: str) -> None:
    begun = threading.Event()

    @app.job
    def long(ctx: ph.Context, db: Session = ph.depends(session)) -> None:
        begun.set()
        until(lambda: ctx.stop_requested)
        ctx.checkpoint()

    @app.job
    async def along(ctx: ph.Context, db: Session = ph.depends(asession)) -> None:
        begun.set()
        await asyncio.Event().wait()

    @app.job
    async def apausing(ctx: ph.Context, db: Session = ph.depends(asession)) -> None:
        begun.set()
        while True:
            await asyncio.sleep(0.01)
            await ctx.acheckpoint()

    kind = long if not is_async else along if verb == "cancel" else apausing
    with app.worker():
        job = kind.enqueue()
        assert begun.wait(30)
        getattr(job, verb)()
        until_state(job, "paused" if verb == "pause" else "cancelled")
    assert steps == ["open", "CancelledError" if kind is along else "Interrupted"]


def test_a_timeout_cleans_up_and_is_seen_as_one(app: ph.Posthorse) -> None:
    @app.job(timeout=0.1, max_attempts=1)
    async def long(db: Session = ph.depends(asession)) -> None:
        await asyncio.Event().wait()

    with app.worker():
        status = until_state(long.enqueue(), "failed")
    assert status.error is not None
    assert status.error.type == "TimeoutError"
    assert steps == ["open", "TimeoutError"]


def test_the_timeout_covers_the_providers(app: ph.Posthorse) -> None:
    async def hangs() -> None:
        await asyncio.Event().wait()

    @app.job(timeout=0.1, max_attempts=1)
    async def never(nothing: None = ph.depends(hangs)) -> None: ...

    with app.worker():
        status = until_state(never.enqueue(), "failed")
    assert status.error is not None
    assert status.error.type == "TimeoutError"


def test_a_snooze_cleans_up(app: ph.Posthorse) -> None:
    @app.job
    def later_on(db: Session = ph.depends(session)) -> None:
        raise ph.Snooze("1h")

    with app.worker():
        until_state(later_on.enqueue(), "scheduled")
        until(lambda: len(steps) == 2)
    assert steps == ["open", "Snooze"]


# ── of the process ───────────────────────────────────────────────────────────────────────────────────


@both
@each_provider
def test_a_resource_of_the_process_is_made_once_and_closed_at_the_end(
    app: ph.Posthorse, is_async: bool, provider: Callable[..., Any]
) -> None:
    def tell(db: Session = ph.depends(provider, scope="process")) -> int:
        assert db.is_open
        return id(db)

    kind = either(app, is_async, tell)
    with app.worker():
        assert steps == []
        jobs = app.enqueue_many([kind.bind() for _ in range(20)])
        assert len({job.result(timeout=30) for job in jobs}) == 1
        assert steps == ["open"]
    assert steps == ["open", "done"]
    with app.worker():
        kind.enqueue().result(timeout=30)
    assert steps == ["open", "done"] * 2


@both
def test_jobs_that_need_it_at_the_same_moment_make_it_once(app: ph.Posthorse, is_async: bool) -> None:
    began, may_go = threading.Event(), threading.Event()

    def slow() -> object:
        steps.append("call")
        began.set()
        assert may_go.wait(30)
        return object()

    def tell(it: object = ph.depends(slow, scope="process")) -> int:
        return id(it)

    kind = either(app, is_async, tell)
    with app.worker(concurrency=4):
        jobs = app.enqueue_many([kind.bind() for _ in range(4)])
        assert began.wait(30)
        until(lambda: all(job.status().state == "processing" for job in jobs))
        may_go.set()
        assert len({job.result(timeout=30) for job in jobs}) == 1
    assert steps == ["call"]


def test_a_provider_of_the_process_that_failed_is_called_again_by_the_next_attempt(app: ph.Posthorse) -> None:
    def flaky() -> int:
        steps.append("call")
        if len(steps) == 1:
            raise ConnectionError
        return 7

    @app.job(backoff=0)
    def tell(it: int = ph.depends(flaky, scope="process")) -> int:
        return it

    with app.worker():
        assert tell.enqueue().result(timeout=30) == 7
        assert tell.enqueue().result(timeout=30) == 7
    assert steps == ["call", "call"]


@both
def test_resources_of_the_process_close_in_reverse_and_before_on_stop(app: ph.Posthorse, is_async: bool) -> None:
    def engine() -> Iterator[str]:
        yield "engine"
        steps.append("engine")

    async def pool(of: str = ph.depends(engine, scope="process")) -> AsyncIterator[str]:
        yield f"pool of {of}"
        steps.append("pool")

    def tell(it: str = ph.depends(pool, scope="process"), e: str = ph.depends(engine, scope="process")) -> str:
        return it

    @app.on_stop
    def stop() -> None:
        steps.append("stop")

    with app.worker():
        assert either(app, is_async, tell).enqueue().result(timeout=30) == "pool of engine"
    assert steps == ["pool", "engine", "stop"]


def test_an_async_resource_of_the_process_is_entered_and_left_in_one_task(app: ph.Posthorse) -> None:
    tasks: list[object] = []

    async def group() -> AsyncIterator[asyncio.TaskGroup]:
        tasks.append(asyncio.current_task())
        async with asyncio.TaskGroup() as made:
            yield made
        tasks.append(asyncio.current_task())

    @app.job
    async def use(tasks: asyncio.TaskGroup = ph.depends(group, scope="process")) -> None:
        tasks.create_task(asyncio.sleep(0))

    @app.job
    def use_in_thread(tasks: asyncio.TaskGroup = ph.depends(group)) -> None: ...

    with app.worker():
        use.enqueue().result(timeout=30)
        use_in_thread.enqueue().result(timeout=30)
    assert len(tasks) == 4
    assert len(set(tasks)) == 2


def test_a_clean_up_of_the_process_that_fails_is_logged(app: ph.Posthorse, caplog: pytest.LogCaptureFixture) -> None:
    def sour() -> Iterator[int]:
        yield 1
        raise OSError("cannot close")

    @app.job
    def use(
        number: int = ph.depends(sour, scope="process"), db: Session = ph.depends(session, scope="process")
    ) -> None: ...

    with app.worker():
        use.enqueue().result(timeout=30)
    assert "sour() failed to clean up" in caplog.text
    assert steps == ["open", "done"]


# ── they are not arguments ────────────────────────────────────────────────────────────────────────────


def test_resources_may_be_anywhere_among_the_parameters(app: ph.Posthorse) -> None:
    @app.job
    def report(
        first: Seven, week: int, second: Seven, *rest: int, third: Seven, name: str = "x", **more: int
    ) -> object:
        return [first, week, second, rest, third, name, more]

    job: Any = report
    with app.worker():
        assert job.enqueue(1).result(timeout=30) == [7, 1, 7, [], 7, "x", {}]
        assert job.enqueue(1, 2, 3, name="n", m=4).result(timeout=30) == [7, 1, 7, [2, 3], 7, "n", {"m": 4}]
    with pytest.raises(ph.InvalidArgument, match="'third' as a resource"):
        job.enqueue(1, third=4)


def test_a_direct_call_passes_them_or_hears_that_it_must(app: ph.Posthorse) -> None:
    @app.job
    def report(week: int, db: Session = ph.depends(session)) -> bool:
        return db.is_open

    assert report(47, Session())
    assert report(47, db=Session())
    with pytest.raises(ph.InvalidCall, match=r"takes 'db' as a resource.*db=…"):
        report(47)


def test_a_job_with_a_resource_is_enqueued_and_searched_by_its_arguments(app: ph.Posthorse) -> None:
    @app.job(unique=True)
    def report(week: int, db: Session = ph.depends(session)) -> None: ...

    job = report.enqueue(47)
    assert report.enqueue(week=47).id == job.id
    with pytest.raises(ph.InvalidArgument, match="'db' as a resource"):
        report.enqueue(47, db=Session())
    with pytest.raises(ph.InvalidArgument, match="surplus"):
        report.enqueue(47, Session())
    with pytest.raises(ph.InvalidOption, match="'db'"):
        app.job(kind="limited", concurrency=ph.Concurrency(1, per="db"))(report.__wrapped__)


# ── what cannot be declared ──────────────────────────────────────────────────────────────────────────


def needs_url(url: str) -> None: ...


def of_job(ctx: ph.Context) -> None: ...


def circle(it: Annotated[int, ph.depends(lambda: 1)], other: Annotated[None, "ph.depends(round_about)"]) -> None: ...


def left(it: Annotated[int, ph.depends(right)]) -> int:
    return it


def right(it: Annotated[int, ph.depends(left)]) -> int:
    return it


def unknown_type(db: Annotated[NotThere, ph.depends(session)]) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def takes_rest(*db: Annotated[Session, ph.depends(session)]) -> None: ...


def of_process(it: object = ph.depends(of_job)) -> None: ...


def of_process_with_context(ctx: ph.Context) -> None: ...


def test_providers_are_checked_when_a_job_is_declared(app: ph.Posthorse) -> None:
    def declare(function: Callable[..., object]) -> None:
        app.job(kind="refused")(function)

    def use_needs_url(it: None = ph.depends(needs_url)) -> None: ...

    def use_circle(it: int = ph.depends(left)) -> None: ...

    def use_process(it: None = ph.depends(of_process, scope="process")) -> None: ...

    def use_context(it: None = ph.depends(of_process_with_context, scope="process")) -> None: ...

    def use_twice(it: Annotated[None, ph.depends(of_job)] = ph.depends(of_job)) -> None: ...

    cases: list[tuple[Any, str]] = [
        (use_needs_url, "nothing fills its parameter 'url'"),
        (use_circle, "left → right → left"),
        (unknown_type, "NotThere"),
        (takes_rest, "passes resources by name"),
        (use_process, "write ph.depends"),
        (use_context, "the context of a job"),
        (use_twice, "twice"),
    ]
    for function, words in cases:
        with pytest.raises(ph.InvalidOption, match=words):
            declare(function)
    with pytest.raises(ph.InvalidOption, match="scope"):
        ph.depends(session, scope="slice")  # type: ignore[call-overload]


class Decorating(contextlib.ContextDecorator):
    """A context manager that can be called, as a decorator."""

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize("provider", [*providers, Decorating], ids=lambda each: str(each.__name__))
def test_what_a_call_of_a_provider_made_is_refused_at_once(provider: Callable[[], Any]) -> None:
    """Some of it can be called, so a job that names it would be refused for another reason, or fail when it runs."""
    name = provider.__name__
    words = rf"what one call of {name} made, .* write {name} without calling it, or `functools.partial\({name}, …\)` if"
    with pytest.raises(ph.InvalidOption, match=words):
        ph.depends(provider())


@pytest.mark.parametrize("given", [7, io.StringIO()], ids=["number", "manager"])
def test_what_is_not_a_provider_is_refused_at_once(given: Callable[[], object]) -> None:
    with pytest.raises(ph.InvalidOption, match="the worker calls it for each job, so pass the function or class"):
        ph.depends(given)
