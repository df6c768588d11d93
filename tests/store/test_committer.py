"""Group commit: which operations share a commit, which fail alone, and that no caller waits in vain."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import pytest

from posthorse.errors import OutcomeUnknown, StoreError
from posthorse.store.base import Operation, QuerySteps
from posthorse.store.committer import MAX_GROUP, Answer, Committer

INTERRUPTIONS = 60


class Recorder:
    """A commit function that records its groups, and waits in each until it is let go."""

    def __init__(self) -> None:
        self.groups: list[list[object]] = []
        self.door = threading.Event()
        self.door.set()
        self.entered = threading.Semaphore(0)
        self.before_commit: Callable[[], None] = lambda: None

    def commit(self, operations: Sequence[Operation[object]]) -> Sequence[Answer]:
        self.entered.release()
        assert self.door.wait(30)
        self.before_commit()
        answers: list[Answer] = []
        for operation in operations:
            try:
                answers.append((_run(operation), None))
            except ValueError as error:
                answers.append((None, error))
        self.groups.append([answer for answer, _ in answers])
        return answers


def _run(operation: Operation[object]) -> object:
    try:
        next(operation.start())
    except StopIteration as stop:
        return stop.value
    raise AssertionError("these operations ask nothing")


def echo(value: object, *, is_repeatable: bool = True) -> Operation[object]:
    def steps() -> QuerySteps[object]:
        if isinstance(value, Exception):
            raise value
        yield from ()
        return value

    return Operation(steps, is_repeatable=is_repeatable)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def committer(recorder: Recorder) -> Committer:
    return Committer(recorder.commit)


def wait_for_queue(committer: Committer, length: int) -> None:
    """Wait until that many wait; queueing has no signal of its own."""
    while len(committer._waiting) < length:  # pyright: ignore[reportPrivateUsage]
        threading.Event().wait(0.001)


def test_lone_caller_commits_in_its_own_thread(committer: Committer, recorder: Recorder) -> None:
    threads: list[threading.Thread] = []
    recorder.before_commit = lambda: threads.append(threading.current_thread())
    assert committer.run(echo(7)) == 7
    assert threads == [threading.current_thread()]


def test_those_who_wait_share_one_commit_in_their_order(committer: Committer, recorder: Recorder) -> None:
    recorder.door.clear()
    with ThreadPoolExecutor(10) as pool:
        futures = [pool.submit(committer.run, echo(0))]
        recorder.entered.acquire()
        for n in range(1, 9):
            futures.append(pool.submit(committer.run, echo(n)))
            wait_for_queue(committer, n)
        recorder.door.set()
        assert [future.result(10) for future in futures] == list(range(9))
    assert recorder.groups == [[0], [1, 2, 3, 4, 5, 6, 7, 8]]


def test_group_has_a_largest_size(committer: Committer, recorder: Recorder) -> None:
    recorder.door.clear()
    count = 2 * MAX_GROUP + 5
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(committer.run, echo(0))]
        recorder.entered.acquire()
        futures += [pool.submit(committer.run, echo(n)) for n in range(1, count)]
        wait_for_queue(committer, count - 1)
        recorder.door.set()
        assert [future.result(10) for future in futures] == list(range(count))
    assert [len(group) for group in recorder.groups] == [1, MAX_GROUP, MAX_GROUP, 4]


def test_bad_operation_fails_alone(committer: Committer, recorder: Recorder) -> None:
    recorder.door.clear()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(committer.run, echo(0))
        recorder.entered.acquire()
        good, bad = pool.submit(committer.run, echo(1)), pool.submit(committer.run, echo(ValueError("bad")))
        wait_for_queue(committer, 2)
        recorder.door.set()
        assert (first.result(10), good.result(10)) == (0, 1)
        with pytest.raises(ValueError, match="bad"):
            bad.result(10)


def test_commit_that_raises_is_everybodys_error(committer: Committer, recorder: Recorder) -> None:
    def fail() -> None:
        raise StoreError("disk full")

    recorder.before_commit = fail
    with pytest.raises(StoreError, match="disk full"):
        committer.run(echo(1))
    recorder.before_commit = lambda: None
    assert committer.run(echo(2)) == 2


async def gather(committer: Committer, count: int) -> list[object]:
    return await asyncio.gather(*(committer.arun(echo(n)) for n in range(count)))


def test_coroutines_share_commits_and_the_loop_goes_on(committer: Committer, recorder: Recorder) -> None:
    async def main() -> list[object]:
        recorder.door.clear()
        answers = asyncio.ensure_future(gather(committer, 20))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        recorder.door.set()
        return await answers

    assert asyncio.run(main()) == list(range(20))
    assert len(recorder.groups) <= 3
    committer.close()


def test_cancelled_coroutine_leaves_the_others_their_answers(committer: Committer, recorder: Recorder) -> None:
    async def main() -> list[object]:
        recorder.door.clear()
        tasks = [asyncio.ensure_future(committer.arun(echo(n))) for n in range(6)]
        await asyncio.sleep(0)
        for task in (tasks[0], tasks[1], tasks[5]):  # one that leads, one next in line, the last
            task.cancel()
        await asyncio.sleep(0)
        recorder.door.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(main())
    assert answers[2:5] == [2, 3, 4]
    assert [isinstance(answers[n], asyncio.CancelledError) for n in (0, 1, 5)] == [True] * 3
    committer.close()


def test_threads_and_coroutines_mixed_all_get_their_own_answers(committer: Committer, recorder: Recorder) -> None:
    def call(n: int) -> bool:
        return all(committer.run(echo((n, m))) == (n, m) for m in range(100))

    def loop(n: int) -> bool:
        return asyncio.run(coroutines(n))

    async def coroutines(n: int) -> bool:
        for m in range(20):
            answers = await asyncio.gather(*(committer.arun(echo((n, m, k))) for k in range(5)))
            if answers != [(n, m, k) for k in range(5)]:
                return False
        return True

    with ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(call if n % 2 else loop, n) for n in range(16)]
        assert all(future.result(60) for future in futures)
    assert sum(map(len, recorder.groups)) == 16 * 100
    committer.close()


def test_close_waits_for_what_was_given_before(committer: Committer, recorder: Recorder) -> None:
    recorder.door.clear()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(committer.run, echo(0))
        recorder.entered.acquire()
        threads = [pool.submit(committer.run, echo(1))]
        wait_for_queue(committer, 1)
        loops = [pool.submit(asyncio.run, gather(committer, 3))]
        wait_for_queue(committer, 4)
        closing = pool.submit(committer.close)
        wait_for_queue(committer, 5)
        recorder.door.set()
        closing.result(10)
        assert (first.result(10), threads[0].result(10), loops[0].result(10)) == (0, 1, [0, 1, 2])
    with pytest.raises(StoreError, match="closed"):
        committer.run(echo(1))


def test_close_of_an_unused_committer_does_nothing(committer: Committer, recorder: Recorder) -> None:
    committer.close()
    assert recorder.groups == []


def test_interrupted_leader_leaves_the_work_of_others_to_them(committer: Committer, recorder: Recorder) -> None:
    recorder.door.clear()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(committer.run, echo("first"))
        recorder.entered.acquire()

        def interrupt() -> None:
            if len(recorder.groups) == 1 and threading.current_thread() is threading.main_thread():
                raise KeyboardInterrupt

        recorder.before_commit = interrupt
        others: list[object] = []

        def open_door() -> None:
            wait_for_queue(committer, 1)
            others.append(pool.submit(committer.run, echo("repeatable")))
            wait_for_queue(committer, 2)
            others.append(pool.submit(committer.run, echo("not", is_repeatable=False)))
            wait_for_queue(committer, 3)
            recorder.door.set()

        helper = pool.submit(open_door)
        with pytest.raises(KeyboardInterrupt):
            committer.run(echo("interrupted"))
        helper.result(10)
        repeatable, unrepeatable = others
        assert first.result(10) == "first"
        assert repeatable.result(10) == "repeatable"  # type: ignore[attr-defined]  # a future
        with pytest.raises(OutcomeUnknown):
            unrepeatable.result(10)  # type: ignore[attr-defined]  # a future
    assert recorder.groups == [["first"], ["repeatable"]]


def test_interruptions_at_random_moments_strand_nobody() -> None:
    """Ctrl-C hits the main thread anywhere, while it leads, waits or hands over."""
    # It needs no recorder, because `threading`'s locks written in Python do not survive interruptions.
    committer = Committer(lambda operations: [(_run(operation), None) for operation in operations])
    chance = random.Random(7)
    stop = threading.Event()

    def call(n: int) -> int:
        count = 0
        while not stop.is_set():
            assert committer.run(echo((n, count))) == (n, count)
            count += 1
        return count

    interrupted = 0
    at_work: SimpleQueue[bool] = SimpleQueue()  # its lock cannot be interrupted

    def interrupt() -> None:
        for _ in range(INTERRUPTIONS):
            at_work.get()
            if stop.wait(chance.uniform(0.0, 0.002)):
                return
            os.kill(os.getpid(), signal.SIGUSR1)

    gc.collect()
    gc.disable()  # an interruption inside any __del__ would be swallowed
    previous = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    try:
        with ThreadPoolExecutor(4) as pool:
            try:
                futures = [pool.submit(call, n) for n in range(3)]
                pool.submit(interrupt)
                for _ in range(INTERRUPTIONS):
                    try:
                        at_work.put(True)
                        while True:
                            committer.run(echo("main"))
                    except KeyboardInterrupt:
                        interrupted += 1
            finally:
                stop.set()  # otherwise the pool would wait for ever
                for _ in range(INTERRUPTIONS):
                    at_work.put(True)
            assert all(future.result(20) for future in futures)
    finally:
        signal.signal(signal.SIGUSR1, previous)
        gc.enable()
    assert interrupted == INTERRUPTIONS
    assert committer.run(echo("usable")) == "usable"
