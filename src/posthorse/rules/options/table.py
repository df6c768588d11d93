"""The table of options: the name of each, where it may be given, its check, and the line that documents it.

The options of `@app.job`, `using`, `app.on`, `app.queue`, files, settings and the command line follow from it, and so
do `help()` and the tables in the documents. Type checkers cannot read it, so `posthorse.app.option_types` repeats the
names and lines with their types; a test compares the two.
"""

from __future__ import annotations

from functools import partial

from posthorse.rules.job import checked_priority
from posthorse.rules.keys import as_key
from posthorse.rules.labels import as_labels
from posthorse.rules.limits import as_concurrency, as_rate, as_sequence
from posthorse.rules.metadata import checked_metadata
from posthorse.rules.options import checks
from posthorse.rules.options.checks import (
    flag,
    named,
    setting_count,
    setting_flag,
    setting_span,
    setting_text,
    span,
    wait,
    whole,
)
from posthorse.rules.options.option import Option, Place
from posthorse.rules.ranges import MAX_PARTS
from posthorse.rules.retention import as_keep
from posthorse.rules.retry import as_backoff, checked_backoff, checked_errors
from posthorse.rules.throttle import as_throttle
from posthorse.rules.unique import checked_unique
from posthorse.rules.window import as_window

MAX_WEIGHT = 1000
MAX_DEPTH = 100_000_000
MAX_TRIES = 1000

JOB, USING, SCHEDULED, SCHEDULE, ON, RUN, ENQUEUE, QUEUE, LIVE, SETTING = Place

OPTIONS: tuple[Option, ...] = (
    # ── of jobs ──────────────────────────────────────────────────────────────────────────────────────
    Option("kind", (JOB,), named("kind"), "the name under which jobs are stored", "the function's name"),
    Option("aliases", (JOB, ON), checks.checked_aliases, "earlier names; they keep old jobs runnable after a rename"),
    Option(
        "queue",
        (JOB, USING, SCHEDULED, RUN, ENQUEUE),
        named("queue"),
        "which queue it waits in; `posthorse worker -q` chooses",
        page="queues.md",
    ),
    Option(
        "priority",
        (JOB, USING, SCHEDULED, ON, RUN, ENQUEUE),
        checked_priority,
        "from −100 to 100, higher first",
        page="queues.md#weights",
    ),
    Option("tags", (JOB, USING, SCHEDULED, RUN, ENQUEUE), checks.checked_tags, "names to find it by"),
    Option(
        "max_attempts",
        (JOB, USING, SCHEDULED, ON, RUN, ENQUEUE),
        whole("max_attempts", MAX_TRIES),
        "how many errors end it",
        page="retries.md",
    ),
    Option(
        "max_crashes",
        (JOB,),
        whole("max_crashes", MAX_TRIES),
        "how many times its process may die while the job runs alone in it",
    ),
    Option(
        "backoff",
        (JOB, USING, SCHEDULED, ON),
        checked_backoff,
        "the wait before the next attempt: a duration (0 = at once), a list of them or "
        "`ph.Backoff(base, factor, limit, jitter)`; in a decorator also a function of the attempt and its "
        "error",
        "2 s, doubling, up to 1 h, shortened by up to half at random",
        page="retries.md#how-long-to-wait",
        check_of_job=as_backoff,
    ),
    Option(
        "retry_on",
        (JOB, ON),
        partial(checked_errors, name="retry_on"),
        "exception classes that lead to another attempt; any other fails the job",
        "every error",
        page="retries.md#which-errors-are-retried",
    ),
    Option(
        "give_up_on",
        (JOB, ON),
        partial(checked_errors, name="give_up_on"),
        "exception classes that fail the job at once",
        page="retries.md#which-errors-are-retried",
    ),
    Option(
        "timeout",
        (JOB, USING, SCHEDULED, ON),
        span("timeout"),
        "how long an attempt may take: an async job is cancelled then, a job in a thread fails at its next slice or "
        "checkpoint",
        page="configuration.md#durations",
    ),
    Option(
        "expires",
        (JOB, USING, SCHEDULED),
        span("expires"),
        "a job that has not started within this time after it is due is cancelled",
        page="retries.md#jobs-that-come-too-late",
    ),
    Option(
        "isolation",
        (JOB,),
        checks.checked_isolation,
        '`"process"`: each job runs in a process of its own',
        page="isolation.md",
    ),
    Option(
        "kill_after",
        (JOB,),
        span("kill_after"),
        "how long an attempt may take until its process is killed; needs `isolation`",
        page="isolation.md",
    ),
    Option(
        "max_memory",
        (JOB,),
        checks.checked_memory,
        'how much memory its processes may use, as bytes or `"512MB"`; needs `isolation`',
        page="isolation.md",
    ),
    Option(
        "trace",
        (JOB,),
        checks.checked_trace,
        'whether the first attempt continues the trace of the code that enqueues (`"child"`), or each attempt has a '
        'trace of its own that links to it (`"link"`)',
        '`"child"`',
        page="monitoring.md#traces",
    ),
    Option(
        "sequence",
        (JOB, USING, SCHEDULED),
        as_sequence,
        "jobs with the same key run one after the other, in the order in which they were enqueued: a key, or "
        "`ph.Sequence`, which can make a key of a parameter",
        page="limits.md#sequences",
        check_of_job=checks.checked_sequence_of_job,
    ),
    Option(
        "unique",
        (JOB, USING, SCHEDULED),
        checked_unique,
        "while an equal job has not ended, `enqueue` returns that one: `True` or `ph.Unique`",
        "False",
        page="keys.md",
    ),
    Option(
        "shards",
        (JOB, USING, SCHEDULED),
        whole("shards", MAX_PARTS),
        "into how many parts its loop is cut, which run side by side",
        "one",
        page="sharding.md",
    ),
    Option(
        "delay",
        (USING, ENQUEUE),
        checks.checked_delay,
        'how long after the enqueue it may start: seconds, or "90s", "10m", "1h30m", "3d"',
        "now",
        page="configuration.md#durations",
    ),
    Option(
        "run_at",
        (USING, ENQUEUE),
        checks.checked_run_at,
        "in place of `delay`, the moment from which it may start, with its time zone",
        "now",
    ),
    Option(
        "key",
        (USING, ENQUEUE),
        as_key,
        "the same key gives the same job, however often it is enqueued",
        "none",
        page="keys.md",
    ),
    Option(
        "tenant",
        (USING, SCHEDULED, RUN, ENQUEUE),
        named("tenant"),
        "whose job it is; keys, fairness and limits can be separate for each tenant",
        "none",
        page="limits.md#fair-queues",
    ),
    Option(
        "metadata",
        (USING, SCHEDULED, RUN, ENQUEUE),
        checked_metadata,
        "a small JSON object that travels with it, such as the id of a request: `ctx.metadata`, `meta.user:7`",
        "none",
        page="resources.md#metadata",
    ),
    Option(
        "block",
        (USING,),
        wait("block"),
        "how long to wait for room in a full queue before `ph.QueueFull`",
        "0",
        page="queues.md#full-queues",
    ),
    Option(
        "on_success",
        (USING,),
        checks.unchecked,
        "a call, or several, whose jobs start once it has completed",
        "none",
        page="workflows.md#callbacks",
    ),
    Option(
        "on_failure",
        (USING,),
        checks.unchecked,
        "a call, or several, whose jobs start once it has failed for good",
        "none",
        page="workflows.md#callbacks",
    ),
    Option(
        "connection",
        (USING,),
        checks.unchecked,
        "the job becomes part of the open transaction of this connection, of sqlite3, psycopg, asyncpg, SQLAlchemy or "
        "Django",
        "none",
        page="transactions.md",
    ),
    # ── of queues ────────────────────────────────────────────────────────────────────────────────────
    Option(
        "max_depth",
        (QUEUE,),
        whole("max_depth", MAX_DEPTH),
        "how many jobs may wait in it; beyond that `enqueue` raises `ph.QueueFull`",
        page="#full-queues",
    ),
    Option(
        "order",
        (QUEUE,),
        checks.checked_order,
        "`fifo`: first come, first served; `lifo`: the newest first, a stack",
    ),
    Option(
        "weight",
        (QUEUE,),
        whole("weight", MAX_WEIGHT),
        "its share of the work, 1 to 1000, among queues that have jobs of equal priority",
        page="#weights",
    ),
    Option(
        "max_duration",
        (QUEUE,),
        span("max_duration"),
        "the longest that an attempt may take, whatever its job says",
        page="#the-longest-duration",
    ),
    Option("labels", (QUEUE,), as_labels, "the labels that a worker must have to serve it", page="#labels"),
    Option(
        "rate",
        (JOB, QUEUE),
        as_rate,
        'how many jobs may start in a span of time, across all machines: `"100/s"`, `"10/m"` or '
        '`ph.Rate("10/s", per="tenant")`',
        page="limits.md",
    ),
    Option(
        "concurrency",
        (JOB, QUEUE),
        as_concurrency,
        'how many jobs may run at once, across all machines: `20` or `ph.Concurrency(1, per="customer_id")`',
        page="limits.md",
    ),
    Option("fair", (QUEUE,), flag("fair"), "whether its tenants take turns", page="limits.md#fair-queues"),
    Option(
        "retry_budget",
        (QUEUE,),
        checks.checked_retry_budget,
        'how many retries may start in a span of time, `"100/m"`; the others start later',
        page="limits.md#retry-budgets",
    ),
    Option(
        "window",
        (QUEUE,),
        as_window,
        'the hours of the day in which its jobs run: `"22:00-06:00 Europe/Berlin"`',
        page="#windows",
    ),
    Option(
        "throttle",
        (QUEUE,),
        as_throttle,
        'what must be calm before its long jobs begin their next slice: `ph.Throttle(items="500/s", load=8)`, or a '
        "function",
        page="throttles.md",
    ),
    Option(
        "ageing",
        (QUEUE,),
        wait("ageing"),
        "after each such wait the oldest job counts as one priority higher; 0 for never",
        page="#nothing-starves",
    ),
    Option("paused", (QUEUE,), flag("paused"), "true: none of its jobs start"),
    Option("draining", (LIVE,), flag("draining"), "true: it accepts no new jobs"),
    Option("worker_count", (QUEUE,), as_concurrency, "another word for `concurrency`", "none", means="concurrency"),
    Option("instance_type", (QUEUE,), checks.instance_type, "the label of that name", "none", means="labels"),
    # ── of schedules ─────────────────────────────────────────────────────────────────────────────────
    Option(
        "name",
        (SCHEDULE,),
        named("the name of a schedule"),
        "what the schedule is called in the store and on the command line",
        is_required=True,
    ),
    Option(
        "cron",
        (SCHEDULE,),
        checks.unchecked,
        "minute, hour, day of month, month, day of week; with six fields, seconds come first",
    ),
    Option(
        "every",
        (SCHEDULE,),
        checks.unchecked,
        "in place of `cron`, an interval of a second or longer, counted from `start` or from 1970-01-01 00:00 UTC",
    ),
    Option("at", (SCHEDULE,), checks.unchecked, "in place of `cron`, one aware datetime, or several"),
    Option(
        "tz",
        (SCHEDULE,),
        checks.unchecked,
        "the zone in which a cron expression is read and times are shown; else UTC",
    ),
    Option("start", (SCHEDULE,), checks.unchecked, "an aware datetime: no run before it"),
    Option("end", (SCHEDULE,), checks.unchecked, "an aware datetime: no run from it on"),
    Option(
        "misfire",
        (SCHEDULE,),
        checks.unchecked,
        "which missed times still run: the latest (`once`, the default), none (`skip`), `all`, or as `ph.Misfire` says",
    ),
    Option(
        "overlap",
        (SCHEDULE,),
        checks.unchecked,
        "what happens at a time while an earlier run is not over: the time is skipped (`skip`, the default), gets its "
        "job (`allow`), or the earlier run is cancelled (`cancel`)",
    ),
    Option("jitter", (SCHEDULE,), checks.unchecked, "each run starts up to so much later; else 0"),
    # ── of an application ────────────────────────────────────────────────────────────────────────────
    Option(
        "url",
        (SETTING,),
        setting_text("url"),
        "the store: `sqlite:///folder/file.db` (four slashes for an absolute path) or "
        "`postgresql://user:password@host/database`, with `%40` for an `@`, `%2F` for a `/` and `%25` for a `%` in the "
        "password",
    ),
    Option(
        "schema",
        (SETTING,),
        setting_text("schema"),
        "PostgreSQL: the schema that holds Posthorse's tables; applications with different schemas can share a "
        "database",
    ),
    Option(
        "lease",
        (SETTING,),
        setting_span("lease"),
        "how long a runner may be silent before other workers take its jobs; at least 3 s. A slice transaction may "
        "take a third of it",
    ),
    Option(
        "heartbeat",
        (SETTING,),
        setting_span("heartbeat"),
        "how often a lease is renewed; at most half the lease. If you set only `lease`, a third of it, at most 10 s",
    ),
    Option(
        "stall",
        (SETTING,),
        setting_span("stall"),
        "how long a runner's loop may be blocked by a job before the runner is replaced",
    ),
    Option(
        "grace",
        (SETTING,),
        setting_span("grace"),
        "how long a stopping worker waits for running jobs; set the stop timeout of your service manager a little "
        "higher",
    ),
    Option(
        "poll",
        (SETTING,),
        setting_span("poll"),
        "how often an idle runner polls for jobs if no notification woke it",
    ),
    Option(
        "store_timeout",
        (SETTING,),
        setting_span("store_timeout"),
        "how long a call waits for a store that cannot be reached, or for a locked SQLite file, before it raises "
        "`ph.StoreUnreachable`; `None` is 30 s, and 5 s inside a running event loop",
        page="configuration.md#durations",
    ),
    Option(
        "release",
        (SETTING,),
        setting_text("release"),
        "the release of your application, such as a version or a commit; figures and errors name it",
        "none",
        page="figures.md#releases",
    ),
    Option(
        "tenant_figures",
        (SETTING,),
        setting_flag("tenant_figures"),
        "whether figures are counted for each tenant, too",
        page="figures.md#what-is-counted",
    ),
    Option(
        "logs",
        (JOB, SETTING),
        flag("logs"),
        "whether what jobs log is stored with them",
        "True",
        page="logs.md",
    ),
    Option(
        "log_level",
        (JOB, QUEUE, SETTING),
        checks.checked_level,
        'the level from which lines are stored: `"DEBUG"`, `"INFO"` … or a number of `logging`',
        "INFO",
        page="logs.md#which-lines-are-stored",
    ),
    Option(
        "capture_print",
        (JOB, SETTING),
        flag("capture_print"),
        "whether what jobs print is stored with what they log",
        "False",
        page="logs.md#print",
    ),
    Option(
        "inherit_metadata",
        (SETTING,),
        setting_flag("inherit_metadata"),
        "whether jobs that a job enqueues get its metadata, under their own",
        page="resources.md#metadata",
    ),
    Option(
        "max_interruptions",
        (SETTING,),
        setting_count("max_interruptions"),
        "how many workers in a row may be lost while they run a job, without a committed slice in between, before the "
        "job fails",
    ),
    Option(
        "keep",
        (JOB, QUEUE, SETTING),
        as_keep,
        'how long jobs stay after they ended: `"7d"` for completed and cancelled ones, `"forever"`, or `ph.Keep`',
        "30d, dead letters 90d, logs 7d",
        page="retention.md",
    ),
    Option(
        "keep_events",
        (SETTING,),
        setting_span("keep_events"),
        "how long events are kept, which are written while something watches",
        page="events.md",
    ),
)


def options_at(place: Place) -> dict[str, Option]:
    """Return the options that may be given at this place, by name."""
    return _AT[place]


_AT = {place: {option.name: option for option in OPTIONS if place in option.where} for place in Place}
