"""Connections that a framework keeps for a thread beyond one job, or one request: a built-in middleware checks them.

Django closes those that broke or are too old before and after each request, and nothing else tells it to. Costs a look
into `sys.modules` where Django is not loaded. A connection inside a transaction is left alone. Where a plain function
returned something to await, the connections of its thread are checked again before the next job there.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from typing import Any

from posthorse.rules.middleware import Layer, RunningAttempt

log = logging.getLogger("posthorse.worker")


def has_framework() -> bool:
    """Whether one is loaded that keeps connections."""
    return "django.db" in sys.modules


def refresh_connections() -> None:
    """Closes connections of this thread that cannot be used any more, so that they are opened anew."""
    if has_framework():
        _close_old()


async def arefresh_connections() -> None:
    """The same for a coroutine: in the thread in which Django's asynchronous calls run."""
    if _is_configured() and _elsewhere.may_exist():
        beside: Any = import_module("asgiref.sync").sync_to_async
        await beside(_elsewhere.close_old)()


def _around_plain(attempt: RunningAttempt) -> Iterator[None]:
    if attempt.is_async:
        yield
        return
    refresh_connections()
    try:
        yield
    finally:
        refresh_connections()


async def _around_async(attempt: RunningAttempt) -> AsyncIterator[None]:
    await arefresh_connections()
    yield


CONNECTION_HYGIENE = (Layer(_around_plain, is_async=False), Layer(_around_async, is_async=True))
"""The outermost middleware of each job, where a framework is loaded."""


class _Elsewhere:
    """Connections that were made in other threads than those of jobs: of these the one is that coroutines use."""

    def __init__(self) -> None:
        self._is_watching = False
        self._exist = False

    def may_exist(self) -> bool:
        """Whether it is worth a hop to another thread to look."""
        if not self._is_watching:
            self._is_watching = True
            signals: Any = import_module("django.db.backends.signals")
            signals.connection_created.connect(self._note, weak=False)
            return True
        return self._exist

    def close_old(self) -> None:
        """Checks those of this thread."""
        connections: Any = import_module("django.db").connections
        if any(connections.all(initialized_only=True)):
            self._exist = True
            _close_old()

    def _note(self, **_: object) -> None:
        if not threading.current_thread().name.startswith("posthorse-job"):
            self._exist = True


def _close_old() -> None:
    if not _is_configured():
        return
    django_db: Any = import_module("django.db")
    try:
        django_db.close_old_connections()
    except Exception as error:  # a job that needs none of them is not to fail for it
        log.debug("cannot check Django's connections: %s", error)


def _is_configured() -> bool:
    settings: Any = import_module("django.conf").settings
    return bool(settings.configured)


_elsewhere = _Elsewhere()
