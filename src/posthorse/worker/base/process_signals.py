"""Signals in processes that run jobs: a signal to the whole process group does not end these processes.

The signals are handled rather than ignored: every program that a job starts inherits an ignored signal, so
`terminate()` would end none of them. A fork of this process that starts no program gets the default handlers back.
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
    """Keep this process alive when it is signalled to stop; only note the time of the signal."""
    for number in STOPS:
        signal.signal(number, only_here(note))


def seconds_since_signal() -> float:
    """Return the seconds since a signal to stop reached this process, as when a whole group is signalled."""
    return monotonic() - _last[0]


def only_here(handler: Handler) -> Handler:
    """Mark a handler as one that forks of this process must not keep."""
    _own.add(handler)
    return handler


def note(number: int, frame: FrameType | None) -> None:
    """Note when this process was signalled."""
    _last[0] = monotonic()


def _is_handled_here() -> bool:
    return any(signal.getsignal(number) in _own for number in STOPS)


def _hold() -> None:
    """Block signals before a fork: those that reach the child before it has its own handlers must wait, not be lost."""
    if _is_handled_here():
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)


def _release() -> None:
    mask = getattr(_forking, "mask", None)
    if mask is not None:
        _forking.mask = None
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _restore() -> None:
    """Give a fork the default handlers."""
    if _is_handled_here():
        signal.set_wakeup_fd(-1)  # otherwise it would wake its parent's loop
        for number, usual in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
            if signal.getsignal(number) in _own:
                signal.signal(number, usual)
    _release()


os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_restore)
