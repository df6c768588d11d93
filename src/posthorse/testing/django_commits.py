"""Jobs that a test enqueues in a transaction of Django, whose database is not where the store of the test is.

They are stored when the transaction commits, and never if it is rolled back. The one that Django's TestCase puts around
a test never commits: there they are stored when the test looks, and its own blocks have ended.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from posthorse.store.connections import UserConnection
from posthorse.store.user_connections.detect import adapter_for
from posthorse.store.user_connections.django import wrapper_of


def is_django(connection: object) -> bool:
    """Return whether a connection is one of Django."""
    return any(kind.__module__.partition(".")[0] == "django" for kind in type(connection).__mro__)


class DjangoCommits:
    """What waits for transactions of Django to commit, in one test."""

    def __init__(self) -> None:
        self._aliases: set[str] = set()

    def call_after_commit(self, connection: UserConnection, store: Callable[[], object]) -> None:
        """Call a function once the transaction commits. Raises InvalidOption outside of one, as the store does."""
        adapter = adapter_for(connection)
        adapter.raise_unless_usable()
        adapter.raise_unless_in_transaction()
        alias = wrapper_of(connection).alias
        self._aliases.add(alias)
        transactions: Any = import_module("django.db.transaction")
        transactions.on_commit(_Storing(store), using=alias)

    def flush(self) -> None:
        """Call what waits only for a transaction that Django's TestCase began."""
        for alias in self._aliases:
            wrapper: Any = import_module("django.db").connections[alias]
            if all(getattr(block, "_from_testcase", False) for block in wrapper.atomic_blocks):
                ours = [entry for entry in wrapper.run_on_commit if isinstance(entry[1], _Storing)]
                wrapper.run_on_commit = [entry for entry in wrapper.run_on_commit if entry not in ours]
                for entry in ours:
                    entry[1]()


class _Storing:
    """Stores jobs, once: Django's own helpers for tests may call it, too."""

    def __init__(self, store: Callable[[], object]) -> None:
        self._store = store
        self._is_done = False

    def __call__(self) -> None:
        if not self._is_done:
            self._is_done = True
            self._store()
