"""The options of jobs: in their declarations, in `using`, on the command line. Some are options of queues, too."""

from __future__ import annotations

from functools import partial

from posthorse.rules.job import checked_priority
from posthorse.rules.keys import as_key
from posthorse.rules.limits import as_sequence
from posthorse.rules.metadata import checked_metadata
from posthorse.rules.options import checks
from posthorse.rules.options.checks import (
    named,
    span,
    wait,
    whole,
)
from posthorse.rules.options.option import Option, OptionPlace
from posthorse.rules.ranges import MAX_PARTS
from posthorse.rules.retry import as_backoff, checked_backoff, checked_errors
from posthorse.rules.unique import checked_unique

MAX_TRIES = 1000

OF_JOBS: tuple[Option, ...] = (
    Option("kind", (OptionPlace.JOB,), named("kind"), "the name under which jobs are stored", "the function's name"),
    Option(
        "aliases",
        (OptionPlace.JOB, OptionPlace.ON),
        checks.checked_aliases,
        "earlier names; they keep old jobs runnable after a rename",
    ),
    Option(
        "queue",
        (OptionPlace.JOB, OptionPlace.USING, OptionPlace.SCHEDULED, OptionPlace.RUN, OptionPlace.ENQUEUE),
        named("queue"),
        "which queue it waits in; `posthorse worker -q` chooses",
        page="queues.md",
    ),
    Option(
        "priority",
        (
            OptionPlace.JOB,
            OptionPlace.USING,
            OptionPlace.SCHEDULED,
            OptionPlace.ON,
            OptionPlace.RUN,
            OptionPlace.ENQUEUE,
        ),
        checked_priority,
        "from −100 to 100, higher first",
        page="queues.md#weights",
    ),
    Option(
        "tags",
        (OptionPlace.JOB, OptionPlace.USING, OptionPlace.SCHEDULED, OptionPlace.RUN, OptionPlace.ENQUEUE),
        checks.checked_tags,
        "names to find it by",
    ),
    Option(
        "max_attempts",
        (
            OptionPlace.JOB,
            OptionPlace.USING,
            OptionPlace.SCHEDULED,
            OptionPlace.ON,
            OptionPlace.RUN,
            OptionPlace.ENQUEUE,
        ),
        whole("max_attempts", MAX_TRIES),
        "how many errors end it",
        page="retries.md",
    ),
    Option(
        "max_crashes",
        (OptionPlace.JOB,),
        whole("max_crashes", MAX_TRIES),
        "how many times its process may die while the job runs alone in it",
    ),
    Option(
        "backoff",
        (OptionPlace.JOB, OptionPlace.USING, OptionPlace.SCHEDULED, OptionPlace.ON),
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
        (OptionPlace.JOB, OptionPlace.ON),
        partial(checked_errors, name="retry_on"),
        "exception classes that lead to another attempt; any other fails the job",
        "every error",
        page="retries.md#which-errors-are-retried",
    ),
    Option(
        "give_up_on",
        (OptionPlace.JOB, OptionPlace.ON),
        partial(checked_errors, name="give_up_on"),
        "exception classes that fail the job at once",
        page="retries.md#which-errors-are-retried",
    ),
    Option(
        "timeout",
        (OptionPlace.JOB, OptionPlace.USING, OptionPlace.SCHEDULED, OptionPlace.ON),
        span("timeout"),
        "how long an attempt may take: an async job is cancelled then, a job in a thread fails at its next slice or "
        "checkpoint",
        page="configuration.md#durations",
    ),
    Option(
        "expires",
        (OptionPlace.JOB, OptionPlace.USING, OptionPlace.SCHEDULED),
        span("expires"),
        "a job that has not started within this time after it is due is cancelled",
        page="retries.md#jobs-that-come-too-late",
    ),
    Option(
        "isolation",
        (OptionPlace.JOB,),
        checks.checked_isolation,
        '`"process"`: each job runs in a process of its own',
        page="isolation.md",
    ),
    Option(
        "kill_after",
        (OptionPlace.JOB,),
        span("kill_after"),
        "how long an attempt may take until its process is killed; needs `isolation`",
        page="isolation.md",
    ),
    Option(
        "max_memory",
        (OptionPlace.JOB,),
        checks.checked_memory,
        'how much memory its processes may use, as bytes or `"512MB"`; needs `isolation`',
        page="isolation.md",
    ),
    Option(
        "trace",
        (OptionPlace.JOB,),
        checks.checked_trace,
        'whether the first attempt continues the trace of the code that enqueues (`"child"`), or each attempt has a '
        'trace of its own that links to it (`"link"`)',
        '`"child"`',
        page="monitoring.md#traces",
    ),
    Option(
        "sequence",
        (OptionPlace.JOB, OptionPlace.USING, OptionPlace.SCHEDULED),
        as_sequence,
        "jobs with the same key run one after the other, in the order in which they were enqueued: a key, or "
        "`ph.Sequence`, which can make a key of a parameter",
        page="limits.md#sequences",
        check_of_job=checks.checked_sequence_of_job,
    ),
    Option(
        "unique",
        (OptionPlace.JOB, OptionPlace.USING, OptionPlace.SCHEDULED),
        checked_unique,
        "while an equal job has not ended, `enqueue` returns that one: `True` or `ph.Unique`",
        "False",
        page="keys.md",
    ),
    Option(
        "shards",
        (OptionPlace.JOB, OptionPlace.USING, OptionPlace.SCHEDULED),
        whole("shards", MAX_PARTS),
        "into how many parts its loop is cut, which run side by side",
        "one",
        page="sharding.md",
    ),
    Option(
        "delay",
        (OptionPlace.USING, OptionPlace.ENQUEUE),
        checks.checked_delay,
        'how long after the enqueue it may start: seconds, or "90s", "10m", "1h30m", "3d"',
        "now",
        page="configuration.md#durations",
    ),
    Option(
        "run_at",
        (OptionPlace.USING, OptionPlace.ENQUEUE),
        checks.checked_run_at,
        "in place of `delay`, the moment from which it may start, with its time zone",
        "now",
    ),
    Option(
        "key",
        (OptionPlace.USING, OptionPlace.ENQUEUE),
        as_key,
        "the same key gives the same job, however often it is enqueued",
        "none",
        page="keys.md",
    ),
    Option(
        "tenant",
        (OptionPlace.USING, OptionPlace.SCHEDULED, OptionPlace.RUN, OptionPlace.ENQUEUE),
        named("tenant"),
        "whose job it is; keys, fairness and limits can be separate for each tenant",
        "none",
        page="limits.md#fair-queues",
    ),
    Option(
        "metadata",
        (OptionPlace.USING, OptionPlace.SCHEDULED, OptionPlace.RUN, OptionPlace.ENQUEUE),
        checked_metadata,
        "a small JSON object that travels with it, such as the id of a request: `ctx.metadata`, `meta.user:7`",
        "none",
        page="resources.md#metadata",
    ),
    Option(
        "block",
        (OptionPlace.USING,),
        wait("block"),
        "how long to wait for room in a full queue before `ph.QueueFull`",
        "0",
        page="queues.md#full-queues",
    ),
    Option(
        "on_success",
        (OptionPlace.USING,),
        checks.unchecked,
        "a call, or several, whose jobs start once it has completed",
        "none",
        page="workflows.md#callbacks",
    ),
    Option(
        "on_failure",
        (OptionPlace.USING,),
        checks.unchecked,
        "a call, or several, whose jobs start once it has failed for good",
        "none",
        page="workflows.md#callbacks",
    ),
    Option(
        "connection",
        (OptionPlace.USING,),
        checks.unchecked,
        "the job becomes part of the open transaction of this connection, of sqlite3, psycopg, asyncpg, SQLAlchemy or "
        "Django",
        "none",
        page="transactions.md",
    ),
)
