"""Enqueuing: one and many, both colours, each option, keys, and what is refused before anything is written."""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

import posthorse as ph
from posthorse.store.operations.read import depths, parked_counts


@pytest.fixture
def add(app: ph.Posthorse) -> ph.Kind[[int, int], int]:
    @app.job
    async def add(a: int, b: int) -> int:
        return a + b

    return add


def waiting(app: ph.Posthorse) -> int:
    """Return how many jobs are in the store, ready or parked."""
    return sum(depth.waiting for depth in app.store.read(depths())) + sum(app.store.read(parked_counts()).values())


def test_works_straight_after_construction_and_is_durable_when_it_returns(
    store_url: str, add: ph.Kind[[int, int], int]
) -> None:
    job = add.enqueue(1, 2)
    assert job.created
    elsewhere = ph.Posthorse(store_url)
    status = elsewhere.get_job(job.id).status()
    assert (status.state, status.kind, status.queue, status.attempt) == ("pending", "add", "default", 1)
    assert status.created_at.tzinfo is not None
    assert abs(status.created_at - datetime.now(UTC)) < timedelta(minutes=5)
    assert (status.started_at, status.finished_at, status.worker, status.error) == (None, None, None, None)
    elsewhere.close()


def test_both_colours_enqueue(app: ph.Posthorse, add: ph.Kind[[int, int], int]) -> None:
    async def enqueue() -> list[ph.Job[int]]:
        return [
            await add.aenqueue(1, 2),
            await add.bind(3, 4).aenqueue(),
            *await app.aenqueue_many([add.bind(5, 6), add.bind(7, 8)]),
            *await asyncio.gather(*(add.aenqueue(number, number) for number in range(20))),
        ]

    jobs = asyncio.run(enqueue())
    assert len({job.id for job in jobs}) == 24
    with app.worker():
        assert [job.result(timeout=30) for job in jobs[:4]] == [3, 7, 11, 15]

        async def results() -> list[int]:
            return [await job.aresult(timeout=30) for job in jobs[4:]]

        assert asyncio.run(results()) == [2 * number for number in range(20)]


def test_many_are_enqueued_in_their_order_and_have_their_handles(
    app: ph.Posthorse, add: ph.Kind[[int, int], int]
) -> None:
    jobs = app.enqueue_many([add.bind(number, 0) for number in range(2500)])
    assert len(jobs) == 2500
    assert [job.id for job in jobs] == sorted(job.id for job in jobs)
    assert all(job.created for job in jobs)
    with app.worker():
        assert [jobs[number].result(timeout=30) for number in (0, 1234, 2499)] == [0, 1234, 2499]


def test_none_at_all_is_none(app: ph.Posthorse) -> None:
    assert app.enqueue_many([]) == []
    assert asyncio.run(app.aenqueue_many([])) == []


def test_many_are_all_or_none(app: ph.Posthorse, add: ph.Kind[[int, int], int]) -> None:
    add.using(key="taken").enqueue(1, 1)
    with pytest.raises(ph.KeyConflict):
        app.enqueue_many([add.bind(1, 2), add.using(key="fresh").bind(3, 4), add.using(key="taken").bind(5, 6)])
    assert waiting(app) == 1
    assert add.using(key="fresh").enqueue(9, 9).created


def test_calls_of_another_application_are_refused(
    app: ph.Posthorse, add: ph.Kind[[int, int], int], store_url: str
) -> None:
    other = ph.Posthorse(store_url)
    with pytest.raises(ph.InvalidOption, match="'add' belongs to another application"):
        other.enqueue_many([add.bind(1, 2)])
    assert waiting(app) == 0


def test_a_call_may_be_enqueued_any_number_of_times(app: ph.Posthorse, add: ph.Kind[[int, int], int]) -> None:
    call = add.bind(1, 2)
    first, second = call.enqueue(), call.enqueue()
    assert first != second
    assert first == app.get_job(first.id)
    assert len({first, second, app.get_job(second.id)}) == 2


# ── options ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_delay_counts_from_the_moment_of_enqueuing(add: ph.Kind[[int, int], int]) -> None:
    status = add.using(delay="10m").enqueue(1, 2).status()
    assert status.state == "scheduled"
    assert status.run_at == status.created_at + timedelta(minutes=10)
    assert add.using(delay=0).enqueue(1, 2).status().state == "pending"


def test_run_at_is_the_moment_in_any_zone(add: ph.Kind[[int, int], int]) -> None:
    at = datetime.now(timezone(timedelta(hours=-7))).replace(microsecond=123) + timedelta(hours=2)
    status = add.using(run_at=at).enqueue(1, 2).status()
    assert (status.state, status.run_at) == ("scheduled", at)
    assert add.using(run_at=at - timedelta(days=1)).enqueue(1, 2).status().state == "pending"


def test_the_later_of_delay_and_run_at_wins_over_the_earlier_using(add: ph.Kind[[int, int], int]) -> None:
    at = datetime.now(UTC) + timedelta(hours=2)
    assert add.using(delay=5).using(run_at=at).enqueue(1, 2).status().run_at == at
    status = add.using(run_at=at).using(delay=5).enqueue(1, 2).status()
    assert status.run_at == status.created_at + timedelta(seconds=5)


def test_options_change_what_they_name_and_leave_the_rest(app: ph.Posthorse) -> None:
    @app.job(queue="mail", priority=3, tags=["kind"], max_attempts=7)
    def letter() -> None: ...

    plain = letter.enqueue().status()
    assert (plain.queue, plain.priority, plain.tags, plain.max_attempts, plain.tenant) == (
        "mail",
        3,
        ("kind",),
        7,
        None,
    )
    changed = letter.using(priority=-5, tenant="acme").using(tags=["one", "two"], max_attempts=1).enqueue().status()
    assert (changed.queue, changed.priority, changed.tags, changed.max_attempts, changed.tenant) == (
        "mail",
        -5,
        ("one", "two"),
        1,
        "acme",
    )
    moved = letter.using(queue="bulk", tags=[]).enqueue().status()
    assert (moved.queue, moved.tags, moved.priority) == ("bulk", (), 3)
    assert letter.using(priority=0).enqueue().status().priority == 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"delay": -1}, "delay is -1"),
        ({"delay": 1e12}, "delay"),
        ({"delay": float("nan")}, "delay is nan"),
        ({"delay": "tomorrow"}, "delay is 'tomorrow'"),
        ({"delay": True}, "delay is True"),
        ({"run_at": datetime(2030, 1, 1)}, "no time zone"),  # noqa: DTZ001 - that is the point
        ({"run_at": "2030-01-01T00:00:00Z"}, "give an aware datetime"),
        ({"run_at": 1e9}, "run_at is 1000000000.0"),
        ({"run_at": datetime(9999, 1, 1, tzinfo=UTC)}, "more than a century ahead"),
        ({"run_at": datetime(1970, 1, 1, tzinfo=UTC)}, "before 2000"),
        ({"delay": 1, "run_at": datetime(2030, 1, 1, tzinfo=UTC)}, "both given"),
        ({"priority": 1.5}, "priority is 1.5"),
        ({"priority": 2**31}, "priority is 2147483648"),
        ({"queue": "*"}, "queue is '\\*'"),
        ({"queue": ""}, "queue is ''"),
        ({"key": ""}, "key is ''; it must be a text"),
        ({"key": "x" * 10_000}, "1 to 512"),
        ({"key": 7}, "key is 7; it must be a text"),
        ({"key": "a\0b"}, "without NUL"),
        ({"tenant": ""}, "tenant is ''"),
        ({"tags": "signup"}, "give a list"),
        ({"max_attempts": 0}, "max_attempts is 0"),
        ({"backoff": -3}, "backoff is -3"),
        ({"timeout": 0}, "longer than zero"),
    ],
)
def test_an_option_that_cannot_be_used_is_named_and_nothing_is_written(
    sqlite_url: str, options: dict[str, object], complaint: str
) -> None:
    app = ph.Posthorse(sqlite_url)

    @app.job
    async def job() -> None: ...

    with pytest.raises(ph.InvalidOption, match=complaint):
        job.using(**options).enqueue()  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ph.InvalidOption, match=r"using\(\) has no option 'quue'; did you mean 'queue'\?"):
        job.using(quue="mail")  # type: ignore[call-arg]  # that is the point
    assert waiting(app) == 0
    app.close()


@pytest.mark.parametrize(
    ("args", "kwargs", "complaint"),
    [
        (("7", 2), {}, "argument a must be int; got str '7'"),
        ((True, 2), {}, "argument a"),
        ((1.0, 2), {}, "argument a"),
        ((None, 2), {}, "argument a must be int; got None"),
        ((1,), {}, "missing"),
        ((1, 2, 3), {}, "surplus: 3"),
        ((1, 2), {"c": 3}, "unexpected argument 'c'"),
        ((1, 2**70), {}, "argument b"),
    ],
)
def test_arguments_are_checked_and_the_bad_one_is_named(
    sqlite_url: str, args: tuple[object, ...], kwargs: dict[str, object], complaint: str
) -> None:
    app = ph.Posthorse(sqlite_url)

    @app.job
    def add(a: int, b: int) -> None: ...

    with pytest.raises(ph.InvalidArgument, match=complaint):
        add.enqueue(*args, **kwargs)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ph.InvalidArgument, match=complaint):
        add.bind(*args, **kwargs)  # type: ignore[arg-type]  # that is the point
    assert waiting(app) == 0
    app.close()


def test_arguments_have_a_limit_that_holds_exactly(app: ph.Posthorse) -> None:
    @app.job
    def size(text: str) -> int:
        return len(text)

    frame = len('{"text":""}')
    limit = 4 * 1024 * 1024
    with pytest.raises(ph.TooLarge, match="limit is 4,194,304"):
        size.enqueue("x" * (limit - frame + 1))
    job = size.enqueue("x" * (limit - frame))
    with app.worker():
        assert job.result(timeout=30) == limit - frame


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_key_gives_the_same_job(app: ph.Posthorse, add: ph.Kind[[int, int], int]) -> None:
    keyed = add.using(key="welcome-7")
    first, second = keyed.enqueue(1, 2), keyed.enqueue(1, 2)
    assert (first.created, second.created) == (True, False)
    assert first == second
    with app.worker():
        assert second.result(timeout=30) == 3
    assert keyed.enqueue(1, 2) == first
    assert waiting(app) == 0


def test_the_same_key_with_other_arguments_is_a_conflict(add: ph.Kind[[int, int], int]) -> None:
    first = add.using(key="k").enqueue(1, 2)
    with pytest.raises(ph.KeyConflict, match=first.id):
        add.using(key="k").enqueue(1, 3)


def test_keys_of_other_tenants_and_kinds_are_other_keys(app: ph.Posthorse, add: ph.Kind[[int, int], int]) -> None:
    @app.job
    def other(a: int, b: int) -> None: ...

    jobs = [
        add.using(key="k").enqueue(1, 2),
        add.using(key="k", tenant="acme").enqueue(1, 3),
        add.using(key="k", tenant="zeus").enqueue(1, 4),
        other.using(key="k").enqueue(9, 9),
    ]
    assert all(job.created for job in jobs)
    assert len({job.id for job in jobs}) == 4


def test_a_key_twice_in_one_call_makes_one_job(app: ph.Posthorse, add: ph.Kind[[int, int], int]) -> None:
    call = add.using(key="k").bind(1, 2)
    first, second = app.enqueue_many([call, call])
    assert first == second
    assert (first.created, second.created) == (True, False)
    assert waiting(app) == 1


def test_a_key_used_at_the_same_moment_makes_one_job(app: ph.Posthorse, add: ph.Kind[[int, int], int]) -> None:
    start = threading.Barrier(8)
    jobs: list[ph.Job[int]] = []

    def enqueue() -> None:
        start.wait(30)
        jobs.append(add.using(key="race").enqueue(1, 2))

    threads = [threading.Thread(target=enqueue) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job.id for job in jobs}) == 1
    assert sum(job.created for job in jobs) == 1


# ── from where ───────────────────────────────────────────────────────────────────────────────────────


def test_threads_share_an_application(app: ph.Posthorse, add: ph.Kind[[int, int], int]) -> None:
    jobs: list[ph.Job[int]] = []

    def enqueue() -> None:
        jobs.extend(add.enqueue(number, number) for number in range(10))

    threads = [threading.Thread(target=enqueue) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job.id for job in jobs}) == 60
    assert waiting(app) == 60


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_enqueues_with_an_application_that_its_parent_used(
    app: ph.Posthorse, add: ph.Kind[[int, int], int]
) -> None:
    add.enqueue(1, 1)
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:  # no code of pytest may run here
        try:
            os.write(send, add.enqueue(20, 22).id.encode())
        except BaseException as error:
            os.write(send, repr(error).encode())
        finally:
            os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as answer:
        job_id = answer.read().decode()
    os.waitpid(child, 0)
    assert app.get_job(job_id).status().state == "pending"
    assert add.enqueue(2, 2).created
    assert waiting(app) == 3


def test_a_closed_application_opens_again_at_the_next_use(app: ph.Posthorse, add: ph.Kind[[int, int], int]) -> None:
    job = add.enqueue(1, 2)
    app.close()
    app.close()
    assert job.status().state == "pending"
    add.enqueue(3, 4)
    assert waiting(app) == 2


def test_a_sync_enqueue_inside_a_running_loop_warns_at_the_line_of_the_caller(
    app: ph.Posthorse, add: ph.Kind[[int, int], int]
) -> None:
    ways: list[Callable[[], object]] = [
        lambda: add.enqueue(1, 2),
        lambda: add.bind(1, 2).enqueue(),
        lambda: app.enqueue_many([add.bind(1, 2)]),
    ]

    async def enqueue() -> None:
        for way in ways:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                way()
            (warning,) = caught
            assert issubclass(warning.category, RuntimeWarning)
            assert "aenqueue" in str(warning.message)
            assert warning.filename == __file__

    asyncio.run(enqueue())
    assert waiting(app) == 3


def test_a_key_with_a_lone_surrogate_is_refused(add: ph.Kind[[int, int], int]) -> None:
    with pytest.raises(ph.InvalidOption, match="lone surrogates"):
        add.using(key="file-\udcff").enqueue(1, 2)


def test_what_is_no_call_is_refused_in_a_bulk(app: ph.Posthorse, add: ph.Kind[[int, int], int]) -> None:
    with pytest.raises(ph.InvalidOption, match="takes calls, not 7; bind the arguments"):
        app.enqueue_many([add.bind(1, 2), 7])  # type: ignore[arg-type]  # what untyped code does
    assert waiting(app) == 0
