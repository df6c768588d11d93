"""Rescue: the jobs of a runner that ended are freed at once; what follows for each depends on how the runner ended."""

from __future__ import annotations

import asyncio
import logging

from posthorse.errors import PosthorseError
from posthorse.failpoints import failpoint
from posthorse.maintenance.chores.rescue import rescue
from posthorse.processes.plan import LOST_LEASE, UNANSWERED, UNENDING_CODE
from posthorse.processes.runner_process import RunnerProcess
from posthorse.rules.lifecycle import Policy
from posthorse.rules.outcomes import Crashed, Lost, Outcome, Stopped
from posthorse.store.operations.runners import held_by, retire
from posthorse.store.store import Store
from posthorse.worker.base.process import exit_in_words

log = logging.getLogger("posthorse.worker")


async def rescue_held_by(
    store: Store, child: RunnerProcess, code: int, *, max_interruptions: int, stop: asyncio.Event
) -> None:
    """Free the jobs of a runner, then take it off the list: until then the sweep leaves its jobs alone.

    `stop` is set once the worker must stop: from then on the runner's end counts against no job.
    """
    failpoint("before_rescue")
    try:
        held = await store.aread(held_by(child.runner))
        suspected = [lease.job for lease in held if lease.lane.kind not in child.isolated]
        for lease in held:
            budget = child.max_crashes.get(lease.lane.kind, Policy().max_crashes)
            policy = Policy(max_crashes=budget, max_interruptions=max_interruptions)
            if stop.is_set():
                end: Outcome = Stopped("shutdown")
            else:
                end = _end_of(child, code, is_suspect=lease.job in suspected, alone=len(suspected) == 1)
            await rescue(store, lease, end, policy)
            child.freed.append(lease.lane)
            failpoint("in_rescue")
        await store.arun(retire(child.runner))
    except PosthorseError as error:
        log.warning("could not free the jobs of runner %d: %s; the sweep will", child.number, error)
    except Exception:
        log.exception("could not free the jobs of runner %d; the sweep will", child.number)


def _end_of(child: RunnerProcess, code: int, *, is_suspect: bool, alone: bool) -> Outcome:
    """Return what the end of a runner means for one of its jobs: a crash, unless the supervisor ended it."""
    if code == LOST_LEASE or (child.pulse is not None and child.pulse.is_dead):
        return Lost("its runner could not renew its lease")
    if not is_suspect or code in (UNENDING_CODE, UNANSWERED):
        return Lost(f"its runner ended: {exit_in_words(code)}")
    return Crashed(f"its runner died: {exit_in_words(code)}", alone=alone)
