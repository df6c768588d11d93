"""The stream: what is told while it is watched, and that every reader gets all of it, once, in one order."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

import psycopg
import pytest

from posthorse.clock import SECOND
from posthorse.rules.job import JobError
from posthorse.rules.lifecycle import Policy, Spent, decide
from posthorse.rules.outcomes import Raised, Snoozed
from posthorse.rules.stream_cursor import StreamCursor, StreamPlace, as_cursor, why_unreadable
from posthorse.rules.watched import ALL_KINDS, Interest
from posthorse.store.operations import finish, runners, stream, submit, telling
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.finish import Completion, Settlement
from posthorse.store.operations.telling import Told
from tests.store.yard import HOME, Yard
from tests.waiting import until

pytestmark = pytest.mark.all_postgres

Event = tuple[str, str]
"""A name and a job."""

ALL = Interest()


class Reader:
    """Reads the stream from a place on; it can be made anew from its cursor at any time."""

    def __init__(self, yard: Yard, cursor: str | None = None) -> None:
        self.yard = yard
        state = yard.store.read(stream.stream_state())
        self.life = state.life or ""
        self.place = state.kept.newest if cursor is None else as_cursor(cursor).place
        self.seen: list[Event] = []

    @property
    def cursor(self) -> str:
        return str(StreamCursor(self.life, self.place))

    def page(self) -> stream.NextBlocks:
        page = self.yard.store.read(stream.read_page(self.place))
        if page.is_last and page.state.has_news:
            self.yard.store.run(stream.mark_tick("anew"))
        return page

    def read(self, *, at_most: int | None = None) -> int:
        """Read one page, or so many of its events; return how many."""
        count = 0
        page = self.page()
        for block in page.blocks:
            for number, job in enumerate(block.jobs[block.skip :], block.skip + 1):
                self.seen.append((block.row.name, job))
                self.place = StreamPlace(block.tick, block.row.place, number)
                count += 1
                if count == at_most:
                    return count
        self.place = page.after
        return count

    def read_all(self) -> Sequence[Event]:
        quiet = 0
        while quiet < 3:
            quiet = 0 if self.read() else quiet + 1
        return self.seen


def watch(yard: Yard, wanted: Interest = ALL, *, name: str = "test", seconds: float = 60.0) -> None:
    yard.store.run(telling.watch(name, wanted, "life", seconds=seconds))


def submit_told(yard: Yard, count: int) -> list[str]:
    jobs = yard.new(count)
    lanes = yard.store.lanes({HOME})
    return [made.id for made in yard.store.run(submit.enqueue(jobs, lanes, told=ALL_KINDS))]


def complete_told(yard: Yard, attempts: Sequence[Fence], *, runner: str | None = None) -> list[str]:
    told = Told({each.job: 1 for each in attempts}, {each.job: 1 for each in attempts})
    ended = [Completion(each.job, each.epoch, "null") for each in attempts]
    return yard.store.run(finish.complete(runner or attempts[0].runner, ended, told)).refused


def claimed(yard: Yard, count: int) -> list[Fence]:
    runner = yard.runner()
    return [Fence(each.job, each.epoch, runner) for each in yard.claim(runner, count)]


# ── what is told ─────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_written_while_nothing_watches(yard: Yard) -> None:
    attempt = yard.started()
    yard.fail(attempt, attempts=2)
    yard.ask(attempt.job, "pause")
    yard.ask(attempt.job, "cancel")
    page = yard.store.read(stream.read_page(None))
    assert not page.blocks
    watch(yard)
    assert Reader(yard).read_all() == []


def test_all_that_happens_to_a_job_is_told_in_order(yard: Yard) -> None:
    watch(yard)
    reader = Reader(yard)
    [job] = submit_told(yard, 1)
    again = Policy(max_attempts=3)
    for outcome in (Raised(JobError("E", "no"), 0), Snoozed(0, "later")):
        [attempt] = claimed(yard, 1)
        yard.settle(attempt, outcome, policy=again)
    yard.ask(job, "pause")
    yard.ask(job, "resume")
    complete_told(yard, claimed(yard, 1))
    names = [name for name, told in reader.read_all() if told == job]
    assert names == [
        "submitted", "attempt_failed", "snoozed", "paused", "resumed", "started", "completed"
    ]  # fmt: skip


def test_an_event_says_which_attempt_it_was(yard: Yard) -> None:
    watch(yard)
    reader = Reader(yard)
    transition = decide(Spent(), Raised(JobError("E", "no"), 0), Policy(max_attempts=3))
    yard.store.run(finish.settle(Settlement(yard.started(), transition, HOME, '{"seconds":1}')))
    [attempt] = claimed(yard, 1)
    yard.ask(attempt.job, "pause", force=True)
    page = yard.store.read(stream.read_page(reader.place))
    if page.state.has_news:
        reader.page()
        page = yard.store.read(stream.read_page(reader.place))
    assert [(block.row.name, block.row.attempt) for block in page.blocks] == [("attempt_failed", 1), ("paused", 2)]


def test_one_commit_tells_of_many_jobs_in_one_row(yard: Yard) -> None:
    watch(yard)
    reader = Reader(yard)
    jobs = submit_told(yard, 50)
    complete_told(yard, claimed(yard, 50))
    reader.page()  # a tick, where there are ticks
    page = yard.store.read(stream.read_page(reader.place))
    assert [(block.row.name, len(block.jobs)) for block in page.blocks] == [
        ("submitted", 50),
        ("started", 50),
        ("completed", 50),
    ]
    assert set(page.faces) == set(jobs)
    assert {(face.kind, face.queue) for face in page.faces.values()} == {(HOME.kind, HOME.queue)}


def test_a_refused_completion_is_not_told(yard: Yard) -> None:
    watch(yard)
    reader = Reader(yard)
    kept, lost = (yard.started() for _ in range(2))
    yard.ask(lost.job, "cancel", force=True)
    for attempt in (kept, lost):
        complete_told(yard, [attempt])
    assert reader.read_all() == [("cancelled", lost.job), ("started", kept.job), ("completed", kept.job)]


def test_a_repeated_commit_is_told_once(yard: Yard) -> None:
    watch(yard)
    reader = Reader(yard)
    [attempt] = claimed_after_submit(yard)
    assert complete_told(yard, [attempt]) == []
    assert complete_told(yard, [attempt]) == []  # the reply to the first was lost
    assert [name for name, _ in reader.read_all()] == ["submitted", "started", "completed"]


def test_a_repeated_commit_that_enqueues_is_told_once(yard: Yard) -> None:
    watch(yard)
    reader = Reader(yard)
    jobs = yard.new(3)
    lanes = yard.store.lanes({HOME})
    for _ in range(2):
        yard.store.run(submit.enqueue(jobs, lanes, told=ALL_KINDS))
        yard.pass_time(seconds=1)
    assert [job for _, job in reader.read_all()] == [job.id for job in jobs]


def claimed_after_submit(yard: Yard) -> list[Fence]:
    submit_told(yard, 1)
    return claimed(yard, 1)


def test_a_dead_runner_tells_of_no_starts(yard: Yard) -> None:
    watch(yard)
    reader = Reader(yard)
    attempt = yard.started()
    yard.store.run(telling.tell_started(attempt.runner, [(attempt.job, 1)]))
    yard.store.run(telling.tell_started(str(uuid.uuid4()), [(attempt.job, 1)]))
    assert reader.read_all() == [("started", attempt.job)]


def test_a_start_is_not_told_again_after_a_lost_reply(yard: Yard) -> None:
    assert not telling.tell_started(yard.runner(), [(str(uuid.uuid4()), 1)]).is_repeatable


# ── who watches ──────────────────────────────────────────────────────────────────────────────────────


def test_a_process_learns_who_watches_together_with_the_settings_of_queues(yard: Yard) -> None:
    watched = yard.store.watched
    telling.learn(watched, yard.store.read(telling.queues_and_watchers()))
    assert not watched.submitted
    assert not watched.has_attempts
    watch(yard, Interest(["completed"], ["mail"]))
    watch(yard, Interest(["submitted"]), name="other")
    telling.learn(watched, yard.store.read(telling.queues_and_watchers()))
    assert "mail" in watched.completed
    assert "other" not in watched.completed
    assert "any" in watched.submitted
    assert not watched.started
    yard.store.run(telling.unwatch("other"))
    telling.learn(watched, yard.store.read(telling.queues_and_watchers()))
    assert not watched.submitted


def test_a_watcher_whose_process_died_is_forgotten(yard: Yard) -> None:
    watch(yard, seconds=30)
    yard.pass_time(seconds=20)
    watch(yard, seconds=30)
    yard.pass_time(seconds=20)
    assert yard.store.run(stream.forget_watchers(3600.0)) == []
    yard.pass_time(seconds=20)
    watched = yard.store.watched
    telling.learn(watched, yard.store.read(telling.queues_and_watchers()))
    assert not watched.has_attempts
    assert yard.store.run(stream.forget_watchers(3600.0)) == ["test"]


def test_a_watch_says_whether_it_still_held(yard: Yard) -> None:
    def renew() -> bool:
        return yard.store.run(telling.watch("test", ALL, "life", seconds=30))

    assert not renew()
    yard.pass_time(seconds=20)
    assert renew()
    yard.pass_time(seconds=31)
    assert not renew()


def test_a_renewed_watch_is_no_change(yard: Yard) -> None:
    attempt = yard.started()
    watch(yard)
    changes = yard.store.read(runners.requests_for(attempt.runner)).changes
    watch(yard)
    assert yard.store.read(runners.requests_for(attempt.runner)).changes == changes
    watch(yard, Interest(["completed"]))
    assert yard.store.read(runners.requests_for(attempt.runner)).changes == changes + 1


# ── order ────────────────────────────────────────────────────────────────────────────────────────────


def test_readers_that_are_killed_and_resumed_miss_nothing_beside_a_long_transaction(yard: Yard) -> None:
    """Two writers commit and roll back; on PostgreSQL a third has written and stays open all the while."""
    watch(yard)
    steady, killed = Reader(yard), Reader(yard)
    written: list[str] = []
    guard = threading.Lock()
    is_over = threading.Event()

    def write(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(60):
            try:
                with yard.store.transaction():
                    jobs = submit_told(yard, dice.randint(1, 5))
                    if dice.random() < 0.2:
                        raise _Undo
            except _Undo:
                continue
            with guard:
                written.extend(jobs)

    with ThreadPoolExecutor(3) as pool, _set_at_end(is_over), _long_transaction(yard) as early:
        writers = [pool.submit(write, seed) for seed in (1, 2)]
        follower = pool.submit(_follow, steady, is_over)
        cursors = 0
        while not all(writer.done() for writer in writers):
            killed.read(at_most=random.Random(cursors).randint(1, 7))
            seen, killed = killed.seen, Reader(yard, killed.cursor)
            killed.seen = seen
            cursors += 1
        for writer in writers:
            writer.result()
        late = len(killed.read_all())
        assert not early or not {job for _, job in killed.seen} & set(early), "seen before it was committed"
    written += early
    follower.result()
    killed.read_all()
    steady.read_all()
    assert killed.seen == steady.seen
    assert [job for _, job in killed.seen[late:]] == early
    assert sorted(job for _, job in killed.seen) == sorted(written)
    assert cursors > 10


def test_many_readers_take_ticks_beside_writers(yard: Yard) -> None:
    watch(yard)
    readers = [Reader(yard) for _ in range(3)]
    is_over = threading.Event()

    def write() -> list[str]:
        return [job for _ in range(40) for job in submit_told(yard, 2)]

    with ThreadPoolExecutor(5) as pool, _set_at_end(is_over):
        following = [pool.submit(_follow, reader, is_over) for reader in readers]
        writing = [pool.submit(write) for _ in range(2)]
        orders = [writer.result() for writer in writing]
        is_over.set()
        for each in following:
            each.result()
    for reader in readers:
        reader.read_all()
        assert reader.seen == readers[0].seen
        for order in orders:
            assert [job for _, job in reader.seen if job in set(order)] == order
    assert len(readers[0].seen) == sum(map(len, orders))


# ── cursors and retention ────────────────────────────────────────────────────────────────────────────


def test_a_large_page_goes_on_where_it_was_cut(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_BLOCKS", 3)
    monkeypatch.setattr(stream, "MAX_JOBS", 7)
    watch(yard)
    reader = Reader(yard)
    jobs = [job for count in (1, 2, 9, 1, 1, 1, 1, 4, 7) for job in submit_told(yard, count)]
    assert [job for _, job in reader.read_all()] == jobs


def test_retention_keeps_the_newest_and_says_which_cursors_are_too_old(yard: Yard) -> None:
    watch(yard, seconds=10 * 86_400.0)
    reader = Reader(yard)
    submit_told(yard, 3)
    reader.read_all()
    first = (
        as_cursor(str(StreamCursor(reader.life, StreamPlace(reader.place.tick - 1, 0, 1))))
        if reader.place.tick
        else None
    )
    yard.pass_time(hours=2)
    [newest] = submit_told(yard, 1)
    reader.read_all()
    yard.pass_time(seconds=1)
    while yard.store.run(stream.forget_told(3_600 * SECOND)):
        pass
    state = yard.store.read(stream.stream_state())
    assert why_unreadable(StreamCursor(reader.life, reader.place), reader.life, state.kept) is None
    if first is not None:
        assert why_unreadable(first, reader.life, state.kept) == "too old"
    yard.pass_time(hours=2)
    while yard.store.run(stream.forget_told(3_600 * SECOND)):
        pass
    state = yard.store.read(stream.stream_state())
    assert why_unreadable(StreamCursor(reader.life, reader.place), reader.life, state.kept) is None
    old = StreamPlace(0, 1) if not state.newest_tick else StreamPlace(1, 0)
    assert why_unreadable(StreamCursor(reader.life, old), reader.life, state.kept) == "too old"
    new = StreamPlace(state.newest_tick + 7 if state.newest_tick else 0, state.newest_place + 7)
    assert why_unreadable(StreamCursor(reader.life, new), reader.life, state.kept) == "too new"
    assert why_unreadable(StreamCursor("other", reader.place), reader.life, state.kept) == "another store"
    assert newest


def test_the_stream_of_another_server_begins_anew(postgres_yard: Yard) -> None:
    yard = postgres_yard
    watch(yard)
    reader = Reader(yard)
    submit_told(yard, 1)
    reader.read_all()
    with yard.store.transaction() as connection:
        connection.execute(  # type: ignore[attr-defined]  # psycopg's
            "UPDATE posthorse.ticks SET snapshot = '9000000:9000000:'"
        )
    yard.store.run(stream.mark_tick("second"))
    state = yard.store.read(stream.stream_state())
    assert state.life == "second"
    assert why_unreadable(StreamCursor(reader.life, reader.place), state.life, state.kept) == "another store"
    reader = Reader(yard)
    [job] = submit_told(yard, 1)
    assert reader.read_all() == [("submitted", job)]


class _Undo(Exception):
    """Takes a transaction back."""


@contextmanager
def _set_at_end(event: threading.Event) -> Iterator[None]:
    try:
        yield
    finally:
        event.set()


def _follow(reader: Reader, is_over: threading.Event) -> None:
    while not is_over.is_set():
        if not reader.read():
            is_over.wait(0.01)


@contextmanager
def _long_transaction(yard: Yard) -> Iterator[list[str]]:
    """Hold a transaction open that enqueued jobs; nothing on SQLite, where no other could write meanwhile."""
    if not yard.store.backend.capabilities.has_rivals:
        yield []
        return
    jobs: list[str] = []
    may_end = threading.Event()

    def hold() -> None:
        with yard.store.transaction():
            jobs.extend(submit_told(yard, 3))
            may_end.wait(60)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        until(lambda: jobs)
        try:
            yield jobs
        finally:
            may_end.set()
            holding.result()


def test_what_nobody_marked_for_long_becomes_ticks_of_a_moderate_size(
    postgres_yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard, rows, per_transaction = postgres_yard, 200_000, 50
    watch(yard)
    reader = Reader(yard)
    with psycopg.connect(yard.store.url, autocommit=True) as connection:
        # Transactions that are over have written them. Only these rows are fewer commits: their numbers are real.
        connection.execute(
            f"""DO $$ BEGIN
                FOR step IN 1 .. {rows // per_transaction} LOOP
                    BEGIN
                        INSERT INTO posthorse.ticks (number, at, snapshot) VALUES (-step, 0, '1:1:');
                        DELETE FROM posthorse.ticks WHERE number = -step;
                    EXCEPTION WHEN division_by_zero THEN NULL;
                    END;
                END LOOP;
            END $$"""
        )
        [(newest,)] = connection.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").fetchall()
        first = newest - rows // per_transaction
        connection.execute(
            f"""INSERT INTO posthorse.stream (xid, at, name, jobs, detail)
            SELECT ({first} + n / {per_transaction})::text::xid8, 1, 'queue_changed', '[]', n::text
            FROM generate_series(0, {rows - 1}) AS n ORDER BY random()"""
        )
        connection.execute("ANALYZE posthorse.stream")

    commits = 1
    while yard.store.run(stream.mark_tick("anew")):
        commits += 1
    assert commits <= rows // (telling.MAX_TICK * stream.MAX_TICKS) + 1
    with psycopg.connect(yard.store.url) as connection:
        told = connection.execute(
            """SELECT c.number, count(*), count(DISTINCT s.detail), min(s.xid), max(s.xid)
            FROM posthorse.ticks p JOIN posthorse.ticks c ON c.number = p.number + 1
            CROSS JOIN LATERAL (
                SELECT * FROM posthorse.stream WHERE xid >= pg_snapshot_xmax(p.snapshot)
                    AND xid < pg_snapshot_xmax(c.snapshot) AND pg_visible_in_snapshot(xid, c.snapshot)) AS s
            GROUP BY c.number ORDER BY c.number"""
        ).fetchall()
    assert sum(count for _, count, _, _, _ in told) == sum(different for _, _, different, _, _ in told) == rows
    assert max(count for _, count, _, _, _ in told) <= telling.MAX_TICK + per_transaction
    assert all(before[4] < after[3] for before, after in pairwise(told)), "later transactions are in later ticks"

    statements = 0
    original = stream.TOLD_BETWEEN

    def counted(**values: object) -> object:
        nonlocal statements
        statements += 1
        return original(**values)  # type: ignore[arg-type]

    monkeypatch.setattr(stream, "TOLD_BETWEEN", counted)
    seen: list[int] = []
    for pages in range(1, 41):
        page = yard.store.read(stream.read_page(reader.place))
        assert len(page.blocks) <= stream.MAX_BLOCKS
        seen += [int(block.row.detail or "") for block in page.blocks if not block.skip]
        reader.place = page.after
        assert statements <= 3 * pages
    assert len(seen) == len(set(seen)) > 39 * stream.MAX_BLOCKS * 0.9
    assert max(seen) < 6 * telling.MAX_TICK


def test_ticks_that_are_cut_lose_and_repeat_nothing_beside_writers(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_TICK", 3)
    monkeypatch.setattr(stream, "MAX_TICKS", 2)
    watch(yard)
    readers = [Reader(yard) for _ in range(3)]
    stop = threading.Event()
    jobs: list[str] = []

    def write(seed: int) -> None:
        random_source = random.Random(seed)
        other = Yard(yard.store.url)
        while not stop.is_set():
            with other.store.transaction():
                jobs.extend(submit_told(other, 1))
                stop.wait(random_source.uniform(0, 0.02))
                jobs.extend(submit_told(other, 1))
        other.store.close()

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, seed) for seed in range(4)]
        for _ in range(60):
            for reader in readers[:2]:
                reader.read()
            stop.wait(0.01)
        stop.set()
        for writer in writers:
            writer.result()
    for reader in readers:
        reader.read_all()
    assert sorted(job for _, job in readers[0].seen) == sorted(jobs)
    assert readers[0].seen == readers[1].seen == readers[2].seen
