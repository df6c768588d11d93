"""Ctrl-C while a store starts one of its threads: the call ends with it, the store closes, and the next call works."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from posthorse.store import thread_on_demand
from posthorse.store.operations.read import over
from posthorse.store.sqlite.deadline import Deadlines
from posthorse.store.thread_on_demand import ThreadOnDemand
from tests.store.yard import Yard
from tests.waiting import until

UNKNOWN = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"


class Interrupted(threading.Thread):
    """A thread whose start is interrupted, after the system has made it or before."""

    is_made = True

    def start(self) -> None:
        if self.is_made:
            super().start()
        raise KeyboardInterrupt


@pytest.fixture(params=[True, False], ids=["after the thread was made", "before"])
def ctrl_c(request: pytest.FixtureRequest) -> Iterator[Callable[[], None]]:
    """Interrupt all starts of threads in stores, until this is called."""
    is_made: bool = request.param
    kind = type("Interrupted", (Interrupted,), {"is_made": is_made})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thread_on_demand, "threading", _Threading(kind))
        yield patch.undo


class _Threading:
    current_thread = staticmethod(threading.current_thread)

    def __init__(self, kind: type[threading.Thread]) -> None:
        self.Thread = kind


def helper_threads() -> list[str]:
    ours = ("posthorse-waiting-room", "posthorse-reads", "posthorse-store")
    return [thread.name for thread in threading.enumerate() if thread.name in ours]


async def _read(yard: Yard) -> object:
    return await yard.store.aread(over([UNKNOWN]))


async def _commit(yard: Yard) -> object:
    return await yard.store.arun(over([UNKNOWN]))


def _wait(yard: Yard) -> object:
    return yard.store.wait_for_end([UNKNOWN], 0.1)


CALLS: dict[str, Callable[[Yard], object]] = {
    "wait": _wait,
    "read": lambda yard: asyncio.run(_read(yard)),
    "commit": lambda yard: asyncio.run(_commit(yard)),
}


@pytest.mark.parametrize("call", CALLS)
def test_interrupted_start_leaves_no_thread(yard: Yard, ctrl_c: Callable[[], None], call: str) -> None:
    yard.store.close()
    with pytest.raises(KeyboardInterrupt):
        CALLS[call](yard)
    until(lambda: not helper_threads(), what="no thread is left")
    yard.store.close()
    ctrl_c()
    CALLS[call](yard)
    yard.store.close()
    assert not helper_threads()


def test_no_waiter_is_left_in_the_room(yard: Yard, ctrl_c: Callable[[], None]) -> None:
    with pytest.raises(KeyboardInterrupt):
        _wait(yard)
    assert not yard.store._waiting_room._callers


def test_deadlines_are_watched_after_an_interrupted_start(ctrl_c: Callable[[], None]) -> None:
    deadlines, is_late = Deadlines(), threading.Event()
    with pytest.raises(KeyboardInterrupt), deadlines.limit(60, is_late.set):
        pass
    ctrl_c()
    with deadlines.limit(0, is_late.set):
        assert is_late.wait(30)


def test_thread_starts_once_and_again_when_it_was_forgotten() -> None:
    guard, runs = threading.Lock(), threading.Semaphore(0)
    thread = ThreadOnDemand(guard, "helper")
    for _ in range(2):
        with guard:
            thread.start(runs.release)
            thread.start(runs.release)
            assert thread.is_there
        assert runs.acquire(timeout=30)
        with guard:
            ended = thread.forget()
        assert ended is not None
        ended.join()
    assert not runs.acquire(blocking=False)
