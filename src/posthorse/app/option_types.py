"""The types of options, for editors and type checkers: the names and lines of `rules/options/table`; a test compares
them.

Nothing imports this module while a program runs; the table checks the values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Required, TypedDict

from posthorse.app.call import Call
from posthorse.rules.byte_sizes import Size
from posthorse.rules.durations import Duration
from posthorse.rules.keys import Key
from posthorse.rules.limits import Concurrency, Rate
from posthorse.rules.limits import Sequence as InSequence
from posthorse.rules.retention import Keep, Span
from posthorse.rules.retry import Backoff, BackoffFunction
from posthorse.rules.schedules import Misfire, MisfirePolicy, Overlap
from posthorse.rules.throttle import ThrottleGiven
from posthorse.rules.unique import Unique
from posthorse.store.connections import UserConnection

ErrorClasses = type[BaseException] | tuple[type[BaseException], ...]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
Labels = Mapping[str, str] | Sequence[str]


class _EveryOptions(TypedDict, total=False):
    """Options of `@app.job`, `@app.on` and `using`."""

    priority: int | None
    """From −100 to 100, higher first."""
    max_attempts: int | None
    """How many errors end it."""
    timeout: Duration | None
    """How long an attempt may take: an async job is cancelled then, a job in a thread fails at its next slice
    or checkpoint.
    """


class ObserverOptions(_EveryOptions, total=False):
    """Options of jobs that `@app.on` takes."""

    aliases: Sequence[str]
    """Earlier names; they keep old jobs runnable after a rename."""
    backoff: Backoff | Duration | Sequence[Duration] | BackoffFunction | None
    """The wait before the next attempt: a duration (0 = at once), a list of them or `ph.Backoff(base, factor,
    limit, jitter)`; in a decorator also a function of the attempt and its error.
    """
    retry_on: ErrorClasses | None
    """Exception classes that lead to another attempt; any other fails the job."""
    give_up_on: ErrorClasses | None
    """Exception classes that fail the job at once."""


class _CommonOptions(_EveryOptions, total=False):
    """Options of `@app.job` and `using`."""

    queue: str | None
    """Which queue it waits in; `posthorse worker -q` chooses."""
    tags: Sequence[str] | None
    """Names to find it by."""
    expires: Duration | None
    """A job that has not started within this time after it is due is cancelled."""
    sequence: str | InSequence | None
    """Jobs with the same key run one after the other, in the order in which they were enqueued: a key, or
    `ph.Sequence`, which can make a key of a parameter.
    """
    unique: bool | Unique | None
    """While an equal job has not ended, `enqueue` returns that one: `True` or `ph.Unique`."""
    shards: int | None
    """Into how many parts its loop is cut, which run side by side."""


class JobOptions(ObserverOptions, _CommonOptions, total=False):
    """Options of `@app.job`."""

    kind: str | None
    """The name under which jobs are stored."""
    max_crashes: int | None
    """How many times its process may die while the job runs alone in it."""
    isolation: Literal["process"] | None
    """`"process"`: each job runs in a process of its own."""
    kill_after: Duration | None
    """How long an attempt may take until its process is killed; needs `isolation`."""
    max_memory: Size | None
    """How much memory its processes may use, as bytes or `"512MB"`; needs `isolation`."""
    trace: Literal["child", "link"] | None
    """Whether the first attempt continues the trace of the code that enqueues (`"child"`), or each attempt has a
    trace of its own that links to it (`"link"`).
    """
    rate: Rate | str | None
    """How many jobs may start in a span of time, across all machines: `"100/s"`, `"10/m"` or
    `ph.Rate("10/s", per="tenant")`.
    """
    concurrency: Concurrency | int | None
    """How many jobs may run at once, across all machines: `20` or `ph.Concurrency(1, per="customer_id")`."""
    keep: Keep | Span | None
    """How long jobs stay after they ended: `"7d"` for completed and cancelled ones, `"forever"`, or `ph.Keep`."""
    logs: bool | None
    """Whether what jobs log is stored with them."""
    log_level: LogLevel | int | None
    """The level from which lines are stored: `"DEBUG"`, `"INFO"` … or a number of `logging`."""
    capture_print: bool | None
    """Whether what jobs print is stored with what they log."""


class UsingOptions(_CommonOptions, total=False):
    """Options of `using`."""

    backoff: Backoff | Duration | Sequence[Duration] | None
    """The wait before the next attempt: a duration (0 = at once), a list of them or `ph.Backoff(base, factor,
    limit, jitter)`; in a decorator also a function of the attempt and its error.
    """
    delay: Duration | None
    """How long after the enqueue it may start: seconds, or "90s", "10m", "1h30m", "3d"."""
    run_at: datetime | None
    """In place of `delay`, the moment from which it may start, with its time zone."""
    key: str | Key | None
    """The same key gives the same job, however often it is enqueued."""
    tenant: str | None
    """Whose job it is; keys, fairness and limits can be separate for each tenant."""
    metadata: Mapping[str, object] | None
    """A small JSON object that travels with it, such as the id of a request: `ctx.metadata`, `meta.user:7`."""
    block: Duration | None
    """How long to wait for room in a full queue before `ph.QueueFull`."""
    on_success: Call[Any] | Sequence[Call[Any]] | None
    """A call, or several, whose jobs start once it has completed."""
    on_failure: Call[Any] | Sequence[Call[Any]] | None
    """A call, or several, whose jobs start once it has failed for good."""
    connection: UserConnection | None
    """The job becomes part of the open transaction of this connection, of sqlite3, psycopg, asyncpg, SQLAlchemy
    or Django.
    """


class QueueOptions(TypedDict, total=False):
    """Settings of `app.queue` and `Queue.set`."""

    max_depth: int | None
    """How many jobs may wait in it; beyond that `enqueue` raises `ph.QueueFull`."""
    order: Literal["fifo", "lifo"] | None
    """`fifo`: first come, first served; `lifo`: the newest first, a stack."""
    weight: int | None
    """Its share of the work, 1 to 1000, among queues that have jobs of equal priority."""
    max_duration: Duration | None
    """The longest that an attempt may take, whatever its job says."""
    labels: Labels | None
    """The labels that a worker must have to serve it."""
    rate: Rate | str | Mapping[str, object] | None
    """How many jobs may start in a span of time, across all machines: `"100/s"`, `"10/m"` or
    `ph.Rate("10/s", per="tenant")`.
    """
    concurrency: Concurrency | int | Mapping[str, object] | None
    """How many jobs may run at once, across all machines: `20` or `ph.Concurrency(1, per="customer_id")`."""
    fair: bool | None
    """Whether its tenants take turns."""
    retry_budget: Rate | str | Mapping[str, object] | None
    """How many retries may start in a span of time, `"100/m"`; the others start later."""
    window: str | None
    """The hours of the day in which its jobs run: `"22:00-06:00 Europe/Berlin"`."""
    throttle: ThrottleGiven
    """What must be calm before its long jobs begin their next slice: `ph.Throttle(items="500/s", load=8)`, or a
    function.
    """
    ageing: Duration | None
    """After each such wait the oldest job counts as one priority higher; 0 for never."""
    keep: Keep | Span | Mapping[str, Span] | None
    """How long jobs stay after they ended: `"7d"` for completed and cancelled ones, `"forever"`, or `ph.Keep`."""
    log_level: LogLevel | int | None
    """The level from which lines are stored: `"DEBUG"`, `"INFO"` … or a number of `logging`."""
    paused: bool | None
    """True: none of its jobs start."""
    worker_count: Concurrency | int | Mapping[str, object] | None
    """Another word for `concurrency`."""
    instance_type: str | None
    """The label of that name."""


class ScheduleOptions(TypedDict, total=False):
    """Options of `app.schedule`, beside the call."""

    name: Required[str]
    """What the schedule is called in the store and on the command line."""
    cron: str | None
    """Minute, hour, day of month, month, day of week; with six fields, seconds come first."""
    every: Duration | None
    """In place of `cron`, an interval of a second or longer, counted from `start` or from 1970-01-01 00:00 UTC."""
    at: datetime | Sequence[datetime] | None
    """In place of `cron`, one aware datetime, or several."""
    tz: str
    """The zone in which a cron expression is read and times are shown; else UTC."""
    start: datetime | None
    """An aware datetime: no run before it."""
    end: datetime | None
    """An aware datetime: no run from it on."""
    misfire: MisfirePolicy | Misfire
    """Which missed times still run: the latest (`once`, the default), none (`skip`), `all`, or as `ph.Misfire` says."""
    overlap: Overlap
    """What happens at a time while an earlier run is not over: the time is skipped (`skip`, the default), gets its
    job (`allow`), or the earlier run is cancelled (`cancel`).
    """
    jitter: Duration
    """Each run starts up to so much later; else 0."""


class SettingOptions(TypedDict, total=False):
    """Settings of `ph.Posthorse`, beside the address of its store."""

    schema: str
    """PostgreSQL: the schema that holds Posthorse's tables; applications with different schemas can share a
    database.
    """
    lease: Duration
    """How long a runner may be silent before other workers take its jobs; at least 3 s. A slice transaction may
    take a third of it.
    """
    heartbeat: Duration
    """How often a lease is renewed; at most half the lease. If you set only `lease`, a third of it, at most 10 s."""
    stall: Duration
    """How long a runner's loop may be blocked by a job before the runner is replaced."""
    grace: Duration
    """How long a stopping worker waits for running jobs; set the stop timeout of your service manager a little
    higher.
    """
    poll: Duration
    """How often an idle runner polls for jobs if no notification woke it."""
    store_timeout: Duration | None
    """How long a call waits for a store that cannot be reached, or for a locked SQLite file, before it raises
    `ph.StoreUnreachable`; `None` is 30 s, and 5 s inside a running event loop.
    """
    keep: Keep | Span | Mapping[str, Span]
    """How long jobs stay after they ended: `"7d"` for completed and cancelled ones, `"forever"`, or `ph.Keep`."""
    keep_events: Duration
    """How long events are kept, which are written while something watches."""
    release: str
    """The release of your application, such as a version or a commit; figures and errors name it."""
    tenant_figures: bool
    """Whether figures are counted for each tenant, too."""
    logs: bool
    """Whether what jobs log is stored with them."""
    log_level: LogLevel | int
    """The level from which lines are stored: `"DEBUG"`, `"INFO"` … or a number of `logging`."""
    capture_print: bool
    """Whether what jobs print is stored with what they log."""
    inherit_metadata: bool
    """Whether jobs that a job enqueues get its metadata, under their own."""
    max_interruptions: int
    """How many workers in a row may be lost while they run a job, without a committed slice in between, before
    the job fails.
    """
