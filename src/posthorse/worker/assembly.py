"""The assembly (composition root): builds what runners, embedded workers and `posthorse run` are made of.

No part below makes the parts that it works with: it is given them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import Callable, Sequence

from posthorse.maintenance.chores import all_chores
from posthorse.maintenance.chores.conditions import LookAtConditions
from posthorse.maintenance.chores.dead_letters import LookAtDeadLetters
from posthorse.maintenance.chores.events import ForgetEvents
from posthorse.maintenance.chores.retention import ForgetOldJobs, retention_of
from posthorse.maintenance.chores.unserved import LookForUnservedJobs
from posthorse.maintenance.event_observers import EventObservers
from posthorse.maintenance.schedules import Scheduler
from posthorse.maintenance.sweep import Sweeper
from posthorse.rules.lifecycle import Policy
from posthorse.rules.registry import Registry
from posthorse.rules.settings import Settings
from posthorse.store.operations.runners import Runner
from posthorse.store.store import Store
from posthorse.version import VERSION
from posthorse.worker.base.live_queues import LiveQueues
from posthorse.worker.claiming.claiming import Claiming, Suspects
from posthorse.worker.claiming.one_job import OneJob
from posthorse.worker.claiming.prefetch import Prefetch
from posthorse.worker.heartbeat import Heart
from posthorse.worker.isolation.child_pool import ChildPool
from posthorse.worker.running.completer import Completer
from posthorse.worker.running.ended_jobs import EndedJobs
from posthorse.worker.running.executors import Executors
from posthorse.worker.running.in_process import InProcessExecutor
from posthorse.worker.running.job_logs import JobLogs, lowest_level
from posthorse.worker.running.job_loop import JobLoop, Stages
from posthorse.worker.running.process_resources import ProcessResources
from posthorse.worker.running.request_poller import RequestPoller
from posthorse.worker.running.slots import Slots
from posthorse.worker.running.tallying import Report, Tallying
from posthorse.worker.running.telling import Telling

MAX_PATIENCE = 10.0
"""Seconds after which a cancelled or timed-out job that does not listen is ended by force; the grace, if shorter."""


def make_runner(
    registry: Registry,
    *,
    queues: Sequence[str],
    labels: Sequence[str],
    concurrency: int,
    worker: str,
    release: str | None = None,
    runner: str | None = None,
) -> Runner:
    """Return what the store should know of a runner in this process: a new incarnation, unless `runner` is its id."""
    return Runner(
        id=runner or str(uuid.uuid4()),
        worker=worker,
        host=socket.gethostname(),
        pid=os.getpid(),
        version=VERSION,
        concurrency=concurrency,
        queues=queues,
        kinds=sorted(registry),
        places=registry.places(),
        labels=labels,
        release=release,
    )


def level_of_logs(registry: Registry, settings: Settings) -> int:
    """Return the lowest level from which lines of any kind are recorded in any queue, as code and file say."""
    kinds = [registry[kind].options for kind in registry]
    return lowest_level(kinds, registry.queues.settings({}).values(), settings.log_level, is_off=not settings.logs)


def make_job_loop(
    store: Store,
    registry: Registry,
    settings: Settings,
    runner: Runner,
    resources: ProcessResources,
    *,
    suspects: Suspects = "when empty",
    only: OneJob | None = None,
    target: str | None = None,
    is_replaceable: bool = False,
    lost: Callable[[], bool] = lambda: False,
    report: Report | None = None,
) -> JobLoop:
    """Build the job loop of a runner. Must be called inside a running event loop.

    `resources`: those that jobs of this process share. `only`: the one job to run. `target`: the application as child
    processes should import it, if they should import that. `is_replaceable`: whether the runner may end when code in it
    does not, because another will take its place. `lost` says whether the lease of the runner is over.
    `report` receives what the runner counted, every ten seconds.
    """
    longest = settings.lease / 3
    logs = make_logs(store, registry, settings, runner)
    executors = Executors(
        registry,
        store,
        runner.id,
        in_process=InProcessExecutor(
            store, runner.id, registry, resources, concurrency=runner.concurrency, longest_transaction=longest
        ),
        isolated=ChildPool(
            store, runner.id, target=target, longest_transaction=longest, logs=logs, packing=registry.packing
        ),
    )
    stages = make_stages(
        store, registry, settings, runner, executors, logs, suspects=suspects, only=only, report=report
    )
    return JobLoop(
        store,
        settings,
        runner,
        stages,
        serves_suspects_only=suspects == "only",
        is_one_by_one=suspects == "only" or only is not None,
        is_replaceable=is_replaceable,
        lost=lost,
    )


def make_logs(store: Store, registry: Registry, settings: Settings, runner: Runner) -> JobLogs:
    """Build what records the logs of jobs. Must be called inside a running event loop."""
    logs = JobLogs(
        store,
        runner.id,
        registry.packing,
        level=settings.log_level,
        is_off=not settings.logs,
        captures_print=settings.capture_print,
        kinds=[registry[kind].options for kind in registry],
        queues=runner.queues,
    )
    logs.obey(registry.queues.settings({}))
    return logs


def make_stages(
    store: Store,
    registry: Registry,
    settings: Settings,
    runner: Runner,
    executors: Executors,
    logs: JobLogs,
    *,
    suspects: Suspects = "when empty",
    only: OneJob | None = None,
    report: Report | None = None,
) -> Stages:
    """Build the parts that a job passes through. Must be called inside a running event loop."""
    ended = EndedJobs()
    slots = Slots(runner, executors, ended, store.emitter, store.tuning, logs)
    tallying = Tallying(
        store, runner.id, slots.running, release=runner.release, by_tenant=settings.tenant_figures, report=report
    )
    telling = Telling(store, runner.id, slots.running)
    queues = LiveQueues(store, registry.queues, obeys=logs.obey)
    return Stages(
        watch=store.backend.notifier.subscribe(store, runner.id),
        claiming=Claiming(store, registry, runner, queues, suspects=suspects, only=only),
        prefetch=Prefetch(runner.concurrency, store.tuning),
        slots=slots,
        executors=executors,
        ended=ended,
        completer=Completer(store, settings, runner, ended, tallying, telling, registry.packing, logs),
        tallying=tallying,
        telling=telling,
        requests=RequestPoller(
            store,
            runner.id,
            slots.running,
            queues,
            patience=min(settings.grace, MAX_PATIENCE),
            obeys_windows=only is None,
        ),
        logs=logs,
    )


def make_heart(store: Store, settings: Settings) -> Heart:
    """Build the heart, which renews the leases of runners."""
    return Heart(store, lease=settings.lease, heartbeat=settings.heartbeat)


def begin_maintenance(
    store: Store, registry: Registry, settings: Settings, holder: str, *, is_alone: bool = False
) -> Sequence[asyncio.Task[None]]:
    """Start the sweep, the scheduler, the observers and the stock keeper of one process; cancel the tasks to end them.

    `is_alone`: the process runs only one job, so it enqueues no jobs for schedules, observers or
    stocks, and removes no old jobs.
    """
    queues = registry.queues
    of_workers = (
        LookForUnservedJobs(store, queues),
        LookAtDeadLetters(store, registry.observers, queues, registry.packing),
        LookAtConditions(store, registry.conditions, queues, registry.packing),
        ForgetOldJobs(store, retention_of(registry, settings)),
        ForgetEvents(store, settings.keep_events),
    )
    policy = Policy(max_interruptions=settings.max_interruptions)
    chores = all_chores(
        store,
        lease=settings.lease,
        policy=policy,
        of_workers=() if is_alone else of_workers,
        packing=registry.packing,
    )
    sweeper = Sweeper(store, holder, chores, lease=settings.lease)
    scheduler = Scheduler(store, {} if is_alone else registry.schedules, registry.queues, registry.packing)
    observers = EventObservers(
        store, {} if is_alone else registry.event_observers, queues, registry.packing, keep=settings.keep_events
    )
    tasks = [asyncio.create_task(part.run_forever()) for part in (sweeper, scheduler, observers)]
    if registry.stocks and not is_alone:
        from posthorse.maintenance.stock import StockKeeper  # here, because few applications have stocks

        keeper = StockKeeper(store, registry.stocks, queues, registry.packing)
        tasks.append(asyncio.create_task(keeper.run_forever()))
    return tasks
