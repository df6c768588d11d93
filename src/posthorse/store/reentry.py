"""Calls that interrupt their own thread in the store: from signal handlers, `__del__`, logging handlers.

Such a call would wait for itself, with the store's locks held. Only the main thread is interrupted by signal handlers:
while the program has any, another thread does the main thread's work in the store, so that calls of the handlers
succeed. All other such calls are refused.
"""

from __future__ import annotations

import importlib
import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import get_ident
from typing import Generic, TypeVar, TypeVarTuple, cast

from posthorse.errors import UsageError

S = TypeVar("S")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_inside: set[int] = set()
"""Threads that are inside a store."""

# Without the enums of `signal`, because this runs before each call.
_handler_of = cast("Callable[[int], object]", importlib.import_module("_signal").getsignal)
_SIGNALS = sorted(
    number for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP} if number < signal.SIGRTMIN
)
_HARMLESS = frozenset({int(signal.SIG_DFL), int(signal.SIG_IGN), None, signal.default_int_handler})


def raise_if_inside() -> None:
    """Raise UsageError if this thread is already inside a store."""
    if get_ident() in _inside:
        raise _interrupts_itself()


def alone(function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call a function that may lock a store, and refuse calls to the store that interrupt it. Raises UsageError."""
    me = get_ident()
    if me in _inside:
        raise _interrupts_itself()
    try:
        _inside.add(me)  # not earlier, because an interruption may come after any call
        return function(*args)
    finally:
        _inside.discard(me)


def begin_work() -> bool:
    """Mark this thread for work of several calls; return True if `end_work` must follow."""
    me = get_ident()
    was_inside = me in _inside
    _inside.add(me)
    return not was_inside


def end_work() -> None:
    """Remove the mark."""
    _inside.discard(get_ident())


def uninterrupted(function: Callable[[T], S], argument: T) -> S:
    """Call a function that may lock a store where no interruption can wait for these locks.

    Raises UsageError inside another such call.
    """
    if may_be_interrupted():
        raise_if_inside()
        return _Process.stand_in.call(partial(function, argument))
    return alone(function, argument)


def may_be_interrupted() -> bool:
    """Return True in the main thread, if there are signal handlers that could call the store."""
    if get_ident() != _Process.main:
        return False
    try:
        return not _HARMLESS.issuperset(map(_handler_of, _SIGNALS))
    except TypeError:  # a handler that is not hashable
        return True


class StandIn:
    """A thread that works in stores instead of a thread that signals may interrupt, one call after the other."""

    def __init__(self) -> None:
        self._errands: SimpleQueue[_Errand[object]] = SimpleQueue()
        self._is_started = False

    def call(self, function: Callable[[], T]) -> T:
        """Call the function in that thread and wait; another call may interrupt the wait."""
        errand = _Errand(function)
        if not self._is_started:
            try:
                threading.Thread(target=self._work, name="posthorse-stand-in", daemon=True).start()
            except RuntimeError:  # the interpreter is about to end, or no thread can be started
                return alone(function)
            self._is_started = True
        self._errands.put(cast("_Errand[object]", errand))  # a queue that is reentrant
        return errand.answer()

    def _work(self) -> None:
        while True:
            self._errands.get().run()


class _Errand(Generic[T]):
    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._answers: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def run(self) -> None:
        try:
            self._answers.put((alone(self._function), None))
        except BaseException as error:  # any error is raised in the caller
            self._answers.put((None, error))

    def answer(self) -> T:
        value, error = self._answers.get()
        if error is not None:
            raise error
        return cast("T", value)


def _interrupts_itself() -> UsageError:
    return UsageError(
        "this call interrupts another one of the same thread in the store, and would wait for it for ever; nothing "
        "was written. It comes from a signal handler, a __del__, a weakref callback, a logging handler, a profiler "
        "or the `per` of a limit: note there what must be done, as in a queue.SimpleQueue, and let another thread "
        "do it"
    )


class _Process:
    main = threading.main_thread().ident
    stand_in = StandIn()


def _start_anew() -> None:
    """Start anew in a forked child: the thread that forked is the main one, and the others are gone."""
    _inside.clear()
    _Process.main = get_ident()
    _Process.stand_in = StandIn()


os.register_at_fork(after_in_child=_start_anew)
