"""Re-entry: calls during a call are served if a signal handler makes them, refused otherwise; no lock stays held."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import posthorse as ph
from posthorse.store import reentry
from posthorse.store.sqlite import forks
from posthorse.store.sqlite.connections import Session
from tests.waiting import until


@pytest.fixture
def note(app: ph.Posthorse) -> ph.Kind[[int], None]:
    @app.job
    def note(number: int) -> None: ...

    note.enqueue(0)
    return note


class Interrupting:
    """A call that is made once, in the middle of a function, and its result."""

    def __init__(self, inner: Callable[..., Any], call: Callable[[], object]) -> None:
        self._inner = inner
        self._call: Callable[[], object] | None = call
        self.came: list[object] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - passed on
        call, self._call = self._call, None
        if call is not None:
            try:
                self.came.append(call())
            except Exception as error:
                self.came.append(error)
        return self._inner(*args, **kwargs)


@contextmanager
def handled(number: signal.Signals, handler: Callable[[], object]) -> Iterator[None]:
    """Handle a signal like this inside the block."""

    def on_signal(signal_number: int, frame: FrameType | None) -> None:
        handler()

    before = signal.signal(number, on_signal)
    try:
        yield
    finally:
        signal.signal(number, before)


def refused(came: list[object]) -> None:
    [error] = came
    assert isinstance(error, ph.UsageError), error
    assert "interrupts another one of the same thread in the store" in str(error)


@pytest.mark.parametrize("where", ["commit", "read", "look"])
def test_a_call_of_the_same_thread_is_refused_and_the_one_that_it_interrupts_goes_on(
    app: ph.Posthorse, note: ph.Kind[[int], None], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    job = next(iter(app.jobs()))
    for call in (lambda: note.enqueue(1), lambda: app.jobs().count(), job.status, app.migrate, app.close):
        interrupting = Interrupting(getattr(app.store.backend, where), call)
        with monkeypatch.context() as patched:
            if where == "commit":
                patched.setattr(app.store._committer, "_commit", interrupting)
                assert note.enqueue(2).created
            else:
                patched.setattr(app.store.backend, where, interrupting)
                assert app.jobs().count() > 0
                assert job.status().state == "pending"
        refused(interrupting.came)
    before = app.jobs().count()
    note.enqueue(3)
    assert app.jobs().count() == before + 1


def test_so_is_one_in_the_thread_that_commits_for_coroutines(
    app: ph.Posthorse, note: ph.Kind[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Callable[[], object]] = [lambda: note.enqueue(1), lambda: asyncio.run(note.aenqueue(1))]
    calls.append(lambda: asyncio.run(app.jobs().acount()))
    for call in calls:
        interrupting = Interrupting(app.store.backend.commit, call)
        monkeypatch.setattr(app.store._committer, "_commit", interrupting)
        asyncio.run(note.aenqueue(2))
        refused(interrupting.came)
    assert app.jobs().count() == 1 + len(calls)


def test_so_is_one_while_the_line_of_those_who_wait_is_changed(
    app: ph.Posthorse, note: ph.Kind[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def enqueue() -> None:
        await note.aenqueue(1)
        interrupting = Interrupting(app.store._committer._enter, lambda: app.jobs().count())
        monkeypatch.setattr(app.store._committer, "_enter", interrupting)
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # it blocks the loop, too
            await note.aenqueue(3)
        refused(interrupting.came)

    asyncio.run(enqueue())
    assert app.jobs().count() == 3


def test_so_is_one_while_a_call_joins_a_transaction_or_that_begins_or_ends(
    app: ph.Posthorse, note: ph.Kind[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with app.store.transaction():
        joined = app.store._joined()
        assert joined is not None
        interrupting = Interrupting(joined.run, lambda: note.enqueue(1))
        monkeypatch.setattr(joined, "run", interrupting)
        note.enqueue(2)
        refused(interrupting.came)
        monkeypatch.undo()
        assert note.enqueue(3).created
    if app.store.backend.capabilities.is_file:
        for step in ("begin", "commit"):
            with monkeypatch.context() as patched:
                interrupting = Interrupting(getattr(Session, step), lambda: note.enqueue(4))
                patched.setattr(Session, step, lambda session, inner=interrupting: inner(session))
                with app.store.transaction():
                    pass
            refused(interrupting.came)
    assert app.jobs().count() == 3


def test_a_signal_handler_is_served_while_the_main_thread_commits_or_reads(
    app: ph.Posthorse, note: ph.Kind[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[ph.Job[None]] = []
    reads: list[int] = []

    def interrupt() -> None:
        def is_heard() -> bool:  # repeatedly, because a signal just before the main thread waits is handled late
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            return waits.is_set()

        until(is_heard)

    waits = threading.Event()

    def on_signal() -> None:
        waits.set()  # the interrupted commit may go on: what comes now must wait for it
        made.append(note.enqueue(1))
        reads.append(app.jobs().count())

    with handled(signal.SIGUSR1, on_signal):
        job = next(iter(app.jobs()))
        backend = app.store.backend
        for name, target in (("_commit", app.store._committer), ("read", backend), ("look", backend)):
            waits.clear()
            interrupting = Interrupting(getattr(target, name), interrupt)
            with monkeypatch.context() as patched:
                patched.setattr(target, name, interrupting)
                assert note.enqueue(2).created
                assert app.jobs().count() > 0
                assert job.status().state == "pending"
            assert interrupting.came == [None]
    assert len(made) >= 2
    assert all(job.created and job.status().state == "pending" for job in made)
    assert app.jobs().count() == 4 + len(made)


def test_the_errors_of_a_call_are_its_own_while_handlers_are_there(app: ph.Posthorse) -> None:
    @app.job
    def keyed(number: int) -> None: ...

    with handled(signal.SIGUSR1, lambda: None):
        assert reentry.may_be_interrupted()
        keyed.using(key="a").enqueue(1)
        with pytest.raises(ph.KeyConflict):
            keyed.using(key="a").enqueue(2)


def test_what_raises_an_interruption_leaves_the_store_usable(
    app: ph.Posthorse, note: ph.Kind[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(app.store._committer, "_commit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            note.enqueue(1)
    assert note.enqueue(2).created


def test_a_limit_that_enqueues_where_it_is_asked_harms_nobody(
    app: ph.Posthorse, caplog: pytest.LogCaptureFixture
) -> None:
    def per(number: int) -> int:
        noted.enqueue(number)
        return number

    @app.job
    def noted(number: int) -> None: ...

    @app.job(concurrency=ph.Concurrency(1, per=per))
    def limited(number: int) -> int:
        return number

    with app.worker():
        assert limited.enqueue(7).result(timeout=30) == 7
        assert noted.enqueue(1).result(timeout=30) is None


def test_a_handler_of_logs_that_enqueues_is_refused_only_in_the_midst_of_the_store(
    app: ph.Posthorse, note: ph.Kind[[int], None]
) -> None:
    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            note.enqueue(1)

    log, noting = logging.getLogger("shop"), Noting()
    log.addHandler(noting)
    try:
        log.warning("outside")
    finally:
        log.removeHandler(noting)  # or it would write into a store that is gone, from other tests
    assert app.jobs().count() == 2


PROGRAM = """
import gc, random, signal, sys, threading, time, weakref
import posthorse as ph
app = ph.Posthorse(sys.argv[1])
@app.job
def note(n: int) -> None: ...
app.migrate(); note.enqueue(0)
made = 0
class Leaky:
    def __init__(self): self.me = self
    def __del__(self):
        try: note.enqueue(1)
        except ph.UsageError: pass
if sys.argv[2] == "signal":
    def on_signal(*_):
        global made
        note.enqueue(1); made += 1
    signal.signal(signal.SIGALRM, on_signal)
    for _ in range(60):
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0002, 0.004)); note.enqueue(2); app.jobs().count()
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert app.jobs("kind:note").count() == 61 + made, (app.jobs().count(), made)
else:
    gc.set_threshold(40, 2, 2)
    for _ in range(60): Leaky(); note.enqueue(2); app.jobs().count()
    gc.set_threshold(0)
print("done")
"""


@pytest.mark.parametrize("how", ["signal", "__del__"])
def test_at_random_moments_nobody_waits_for_himself(store_url: str, how: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, store_url, how], capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.stdout == "done\n", ran.stderr


def test_a_forked_child_knows_its_own_main_thread(store_url: str, tmp_path: Path) -> None:
    program = """
import os, signal, sys, threading
from posthorse.store import reentry
assert not reentry.may_be_interrupted()
signal.signal(signal.SIGUSR1, lambda *_: None)
assert reentry.may_be_interrupted()
def fork():
    assert not reentry.may_be_interrupted()
    reentry.begin_work()
    child = os.fork()
    if child == 0:
        reentry.raise_if_inside()
        os._exit(0 if reentry.may_be_interrupted() else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
thread = threading.Thread(target=fork); thread.start(); thread.join()
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert ran.stdout == "0\n", ran.stderr
    gc.collect()


IN_A_FORK = """
import os, signal, sys, threading
import posthorse as ph
from posthorse.store.sqlite import forks

app = ph.Posthorse(sys.argv[1])

@app.job
def note(number: int) -> None: ...

note.enqueue(0)


class Owner:
    busy_seconds = 0.0

    def __init__(self):
        self.lock = threading.Lock()

    def locks(self):
        return (self.lock,)

    def let_go(self):
        os.kill(os.getpid(), signal.SIGUSR1)


def handler(number, frame):
    INTERRUPTION


came = []
signal.signal(signal.SIGUSR1, handler)
owners = [Owner() for _ in range(9)]  # at least one comes after the store, whose locks are held then
for owner in owners:
    forks.mind(owner)
child = os.fork()
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
forks._owners.difference_update(owners)
note.enqueue(2)
print(came, app.jobs().count(), any(owner.lock.locked() for owner in owners))
"""


@pytest.mark.parametrize(
    ("interruption", "came"),
    [
        (
            "try: note.enqueue(1)\n    except ph.UsageError as error: came.append(1)",
            "[1, 1, 1, 1, 1, 1, 1, 1, 1] 2 False",
        ),
        ("raise KeyboardInterrupt", "[] 2 False"),
    ],
)
def test_a_handler_in_the_midst_of_a_fork_leaves_no_lock_held(sqlite_url: str, interruption: str, came: str) -> None:
    program = IN_A_FORK.replace("INTERRUPTION", interruption)
    done = subprocess.run(
        [sys.executable, "-c", program, sqlite_url], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == came, done.stderr


def test_the_end_of_a_fork_releases_no_lock_of_another_thread() -> None:
    class Owner:
        busy_seconds = 0.0
        lock = threading.Lock()

        def locks(self) -> tuple[threading.Lock, ...]:
            return (self.lock,)

        def let_go(self) -> None: ...

    owner = Owner()
    forks.mind(owner)
    forks._before_fork()  # pyright: ignore[reportPrivateUsage]
    try:
        other = threading.Thread(target=forks._after_fork)  # pyright: ignore[reportPrivateUsage]
        other.start()
        other.join()
        assert owner.lock.locked()
    finally:
        forks._after_fork()  # pyright: ignore[reportPrivateUsage]
    assert not owner.lock.locked()
