"""The schema of one store: checked before the first operation, created or migrated where the database lets us.

`store/migrate` knows the steps; this module knows when they are due, and what an absent schema means.
"""

from __future__ import annotations

import logging
import threading

from msgspec.structs import replace

from posthorse.store import migrate
from posthorse.store.backend import Backend
from posthorse.store.migrate import Tell
from posthorse.store.patience import Deadline

log = logging.getLogger("posthorse")

MADE_BY_DEFAULT = (
    "nothing names a store, so a new, empty one was made: %s. Set POSTHORSE_URL for every process that enqueues or "
    "works, or write ph.Posthorse(url)"
)


class OwnSchema:
    """The schema of a store, as one process sees it."""

    def __init__(self, backend: Backend, where: str, *, is_named: bool) -> None:
        self.is_checked = False
        """True once this process may use it."""
        self._backend = backend
        self._where = where
        self._is_named = is_named
        self._opening = threading.Lock()

    def prepare(self, deadline: Deadline | None) -> None:
        """Check it before the first operation. A file is created and migrated then, a server database by `migrate`."""
        if self.is_checked:
            return
        with self._opening:
            version = self.version(deadline)
            creates_schema = self._backend.capabilities.creates_schema
            if creates_schema and (version is None or version < migrate.SCHEMA_VERSION):
                self.migrate(log.info)
            else:
                migrate.check(version, self._where)
                self._backend.remember()
            self.is_checked = True

    def migrate(self, tell: Tell) -> int:
        """Create or migrate it; return the number of steps taken."""
        new_place = self._backend.prepare()
        with self._backend.migrating(tell) as migrator:
            steps = migrate.migrate(migrator, self._where, tell)
        self._backend.remember()
        if new_place is not None and not self._is_named:
            log.warning(MADE_BY_DEFAULT, new_place)
        return steps

    def missing_steps(self) -> list[str]:
        """Return in words what `migrate` would do; change nothing."""
        seen = self._backend.read(migrate.stored_progress()) if self._backend.exists() else None
        if seen is None:
            return ["create the schema"]
        with self._backend.migrating(log.info) as migrator:
            tasks = migrate.tasks_left(migrator, seen, self._where)
            return [migrate.words_of(migrator, task) for task in tasks]

    def version(self, deadline: Deadline | None) -> int | None:
        """Return the stored version; None if there is none. Raises StoreUnreachable for a lost file."""
        if not self._backend.exists():
            return None
        return self._backend.read(replace(migrate.stored_version(), deadline=deadline))
