"""Signals in processes that run jobs: a signal to the whole process group does not end them.

They are handled rather than ignored: what is ignored is inherited by every program that a job starts, and `terminate()`
would then end none of them. What a job forks without starting a program gets the usual handlers back.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from weakref import WeakSet

from posthorse.clock import monotonic

STOPS = (signal.SIGTERM, signal.SIGINT)

Handler = Callable[[int, FrameType | None], None]

_own = WeakSet[Handler]()
_last = [-float("inf")]
_forking = threading.local()


def stay() -> None:
    """Let signals to stop do nothing in this process but be noted."""
    for number in STOPS:
        signal.signal(number, only_here(note))


def seconds_since_signal() -> float:
    """Return how long ago this process was signalled itself, as when a whole group is told to stop."""
    return monotonic() - _last[0]


def only_here(handler: Handler) -> Handler:
    """Register a handler as one that forks of this process do not keep."""
    _own.add(handler)
    return handler


def note(number: int, frame: FrameType | None) -> None:
    """Keep when this process was signalled."""
    _last[0] = monotonic()


def _is_handled_here() -> bool:
    return any(signal.getsignal(number) in _own for number in STOPS)


def _hold() -> None:
    """Before a fork: what is sent to the child before it has its own handlers must wait, and not be lost."""
    if _is_handled_here():
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


def _release() -> None:
    mask = getattr(_forking, "mask", None)
    if mask is not None:
        _forking.mask = None
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _restore() -> None:
    """Give a fork the handlers that a process has from its start."""
    if _is_handled_here():
        signal.set_wakeup_fd(-1)  # or it would wake the loop of its parent
        for number, usual in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
            if signal.getsignal(number) in _own:
                signal.signal(number, usual)
    _release()


os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_restore)
