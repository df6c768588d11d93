"""Forget old jobs: walk through all jobs by id, from the oldest, and remove those that have stayed long enough.

The walk takes a small share of the time. It keeps no state in the store: a process that takes over begins a new round.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from posthorse.clock import SECOND
from posthorse.failpoints import failpoint
from posthorse.maintenance.chores.base import REST, Chore, ChorePace
from posthorse.rules.durations import as_text
from posthorse.rules.job import State
from posthorse.rules.registry import Registry
from posthorse.rules.retention import (
    DEFAULT_KEEP,
    NOTICE,
    Declaration,
    Keep,
    RetentionTerms,
    as_keep,
    logs_may_go,
    may_go,
    result_may_go,
    terms_of,
)
from posthorse.rules.settings import Settings
from posthorse.store.base import Operation
from posthorse.store.operations.retention import (
    FIRST,
    DeclaredFor,
    Going,
    IdentityEntry,
    JobsByAge,
    changes_of_retention,
    declare_retention,
    forget_identities,
    forget_jobs,
    identities,
    note_forgotten,
    old_jobs,
)
from posthorse.store.operations.runners import NextDue
from posthorse.store.store import Store

log = logging.getLogger("posthorse.maintenance")

REST_WHEN_LATE = 10
"""A turn that took t seconds is followed by another after 10 t if jobs leave much too late."""

LATE = 1.1
"""A job that stayed so many times as long as it should is much too late."""

MIN_ROUND, MAX_ROUND = 10.0, 3600.0
"""Seconds between the end of a round and the next one: a tenth of the shortest retention, within these bounds."""


class ToForget(NamedTuple):
    """The jobs of a page that leave, those whose results or logs leave, and whether some leave much too late."""

    going: Sequence[Going]
    emptied: Sequence[Going]
    silenced: Sequence[Going]
    is_late: bool


class ForgetOldJobs(Chore):
    """Due in turns, all the time; each process first declares what its code says."""

    name = "forget old jobs"
    by_every_process = True

    def __init__(self, store: Store, said: Mapping[DeclaredFor, Keep]) -> None:
        self._store = store
        self._said = said
        self._at_once = store.tuning.retention_page
        self._has_declared = False
        self._throttle = ChorePace()
        self._rest = REST
        self._pause = 0.0
        self._after = FIRST
        self._identity: IdentityEntry | None = None
        self._is_among_identities = False
        self._shortest = math.inf

    @property
    def is_on_its_way(self) -> bool:
        """Whether it is in the middle of a round."""
        return self._is_among_identities or self._after != FIRST

    def due_in(self, look: NextDue | None) -> float:
        if look is None:
            return math.inf if self._has_declared else 0.0
        return self._throttle.due_in(self._pause, rest=self._rest)

    async def run(self, look: NextDue | None) -> NextDue | None:
        if not self._has_declared:
            await self._declare()
        if look is None:
            return look
        self._rest, self._pause = REST, 0.0
        with self._throttle.turn():
            await (self._forget_identities() if self._is_among_identities else self._forget_jobs())
        return look

    def stand_by(self) -> None:
        self._after = FIRST
        self._is_among_identities = False

    async def _declare(self) -> None:
        changed = await self._store.aread(changes_of_retention(self._said))
        if changed.declarations:
            await self._store.arun(declare_retention(changed.declarations))
        self._has_declared = True
        for scope, declaration in sorted(changed.declarations.items()):
            if declaration.since and changed.oldest > terms_of(as_keep(declaration.words)).shortest:
                log.warning("%s", notice(scope, declaration))

    async def _forget_jobs(self) -> None:
        page = await self._store.aread(old_jobs(after=self._after, limit=self._at_once))
        self._shortest = page.retention.shortest(page.now)
        chosen = choose(page)
        for commit in removal(page, chosen):
            await self._store.arun(commit)
        if chosen.is_late:
            self._rest = REST_WHEN_LATE
        if len(page.jobs) < self._at_once:
            self._is_among_identities = True
            self._after, self._identity = FIRST, None
        else:
            self._after = page.jobs[-1].id

    async def _forget_identities(self) -> None:
        found = await self._store.aread(identities(self._identity, self._at_once))
        orphaned = [identity for identity, is_orphaned in found if is_orphaned]
        if orphaned:
            await self._store.arun(forget_identities(orphaned))
        if len(found) < self._at_once:
            self._is_among_identities = False
            self._pause = min(MAX_ROUND, max(MIN_ROUND, self._shortest / SECOND / 10))
        else:
            self._identity = found[-1][0]


def retention_of(registry: Registry, settings: Settings) -> dict[DeclaredFor, Keep]:
    """Return what an application says of retention, by scope and name."""
    said: dict[DeclaredFor, Keep] = {("application", ""): settings.keep.over(DEFAULT_KEEP)}
    for name in registry:
        registered = registry[name]
        if registered.options.keep is not None:
            said["kind", registered.kind] = registered.options.keep
    for name, queue in registry.queues.settings({}).items():
        if queue.keep is not None:
            said["queue", name] = queue.keep
    return said


def choose(page: JobsByAge, *, older_than: int = 0) -> ToForget:
    """Return which jobs of a page leave; only those that ended longer ago than `older_than` microseconds."""
    going: list[Going] = []
    emptied: list[Going] = []
    silenced: list[Going] = []
    is_late = False
    known: dict[tuple[str, str], RetentionTerms] = {}
    for job in page.jobs:
        if job.finished_at is None or page.now - job.finished_at <= older_than:
            continue
        terms = known.get((job.kind, job.queue))
        if terms is None:
            terms = known[job.kind, job.queue] = page.retention.terms(job.kind, job.queue, page.now)
        state = State(job.state)
        if may_go(state, job.finished_at, terms, page.now):
            going.append(Going(job.id, job.finished_at))
            is_late = is_late or may_go(state, job.finished_at, terms.times(LATE), page.now)
            continue
        if job.has_result and result_may_go(state, job.finished_at, terms, page.now):
            emptied.append(Going(job.id, job.finished_at))
        if job.has_logs and logs_may_go(state, job.finished_at, terms, page.now):
            silenced.append(Going(job.id, job.finished_at))
    return ToForget(going, emptied, silenced, is_late)


def removal(page: JobsByAge, chosen: ToForget) -> Iterator[Operation[int | None]]:
    """Yield the commits that remove what was chosen of a page, in order; some return how many jobs left."""
    going, emptied, silenced, _ = chosen
    if going or emptied or silenced:
        failpoint("before_forgetting")
        if going:
            yield note_forgotten(going[-1].job)
        yield forget_jobs(page.jobs[0].id, page.jobs[-1].id, going, emptied, silenced)
        failpoint("after_forgetting")


def notice(scope: DeclaredFor, declaration: Declaration) -> str:
    """Return the warning that jobs will leave which stayed until now."""
    kind, name = scope
    whose = "jobs" if kind == "application" else f"jobs of the {kind} {name}"
    spans = ", ".join(f"{ending} after {span}" for ending, span in declaration.words.items() if span != "forever")
    within = as_text(timedelta(microseconds=NOTICE))
    return (
        f"in {within} from now {whose} begin to leave the store that ended long enough ago: {spans}. "
        "See which with `posthorse prune --dry-run`, and change it with `keep` (docs/retention.md)"
    )
