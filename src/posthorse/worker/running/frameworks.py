"""Frameworks that keep a connection for each thread beyond one job or request: a built-in middleware checks these.

Django closes connections that are broken or too old before and after each request; in a worker, nothing else would make
it do so. Without Django, this costs one look into `sys.modules`. A connection inside a transaction is left alone. If a
plain function returns an awaitable, the connections of its thread are checked before the next job there.
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
    """Return whether a framework that keeps connections is loaded."""
    return "django.db" in sys.modules


def refresh_connections() -> None:
    """Close the connections of this thread that can no longer be used, so that Django opens new ones."""
    if has_framework():
        _close_old()


async def arefresh_connections() -> None:
    """Do the same for a coroutine: in the thread in which Django runs its asynchronous calls."""
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
"""The outermost middleware of each job, if a framework is loaded."""


class _Elsewhere:
    """Whether connections exist that other threads than those of jobs made. Coroutines use one of these."""

    def __init__(self) -> None:
        self._is_watching = False
        self._exist = False

    def may_exist(self) -> bool:
        """Return whether switching to that thread is worthwhile."""
        if not self._is_watching:
            self._is_watching = True
            signals: Any = import_module("django.db.backends.signals")
            signals.connection_created.connect(self._note, weak=False)
            return True
        return self._exist

    def close_old(self) -> None:
        """Check the connections of this thread."""
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
    except Exception as error:  # a job that needs no connection must not fail because of this
        log.debug("cannot check Django's connections: %s", error)


def _is_configured() -> bool:
    settings: Any = import_module("django.conf").settings
    return bool(settings.configured)


_elsewhere = _Elsewhere()
