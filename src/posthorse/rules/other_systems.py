"""Words of Celery, RQ, Dramatiq, Huey, Procrastinate and arq, with what Posthorse calls the same.

For a misspelt word, the advice is the nearest known one; for a word of another library, what to write here.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection

OPTIONS = {
    "max_retries": "max_attempts=, which counts the first try, too: 3 retries are max_attempts=4",
    "retries": "max_attempts=, which counts the first try, too: 3 retries are max_attempts=4",
    "retry": "max_attempts= and backoff=",
    "max_tries": "max_attempts=",
    "attempts": "max_attempts=",
    "retry_delay": "backoff=",
    "default_retry_delay": "backoff=",
    "retry_backoff": "backoff=",
    "retry_backoff_max": 'backoff=ph.Backoff(max="10m")',
    "retry_jitter": "backoff=ph.Backoff(jitter=…)",
    "min_backoff": "backoff=ph.Backoff(base=…)",
    "max_backoff": "backoff=ph.Backoff(max=…)",
    "autoretry_for": "retry_on=",
    "retry_when": "retry_on=, or backoff= with a function",
    "dont_autoretry_for": "give_up_on=",
    "throws": "give_up_on=",
    "countdown": "delay=, of using(…)",
    "delay": "delay=, of using(…): kind.using(delay=…).enqueue(…)",
    "defer_by": "delay=, of using(…)",
    "_defer_by": "delay=, of using(…)",
    "schedule_in": "delay=, of using(…)",
    "eta": "run_at=, of using(…): an aware datetime",
    "defer_until": "run_at=, of using(…)",
    "_defer_until": "run_at=, of using(…)",
    "schedule_at": "run_at=, of using(…)",
    "name": "kind=, of @app.job",
    "task_name": "kind=, of @app.job",
    "actor_name": "kind=, of @app.job",
    "queue_name": "queue=",
    "_queue_name": "queue=",
    "routing_key": "queue=",
    "task_id": "key=, of using(…): the same key gives the same job",
    "job_id": "key=, of using(…): the same key gives the same job",
    "_job_id": "key=, of using(…): the same key gives the same job",
    "queueing_lock": "unique=",
    "unique_key": "unique=ph.Unique(by=…)",
    "lock": "sequence=, of using(…): one after the other",
    "soft_time_limit": "timeout=",
    "time_limit": 'timeout=; or kill_after=, with isolation="process"',
    "job_timeout": "timeout=",
    "ttl": "expires=",
    "max_age": "expires=",
    "_expires": "expires=",
    "rate_limit": "rate=",
    "max_concurrency": "concurrency=",
    "meta": "tags=",
    "args": "the arguments themselves: kind.enqueue(1, 2)",
    "kwargs": "the arguments themselves: kind.enqueue(name=1)",
    "bind": "a first parameter ctx: ph.Context",
    "pass_context": "a first parameter ctx: ph.Context",
    "context": "a first parameter ctx: ph.Context",
    "acks_late": "always so: a job whose worker died is run again",
    "ignore_result": "always kept; a job that returns nothing keeps nothing",
    "store_results": "always kept; a job that returns nothing keeps nothing",
}
"""Options of decorators and of single calls."""

OF_QUEUES = {
    "size": "max_depth=",
    "maxsize": "max_depth=",
    "max_size": "max_depth=",
    "max_length": "max_depth=",
    "limit": "concurrency=, or rate=",
    "max_concurrency": "concurrency=",
    "concurrency_limit": "concurrency=",
    "max_workers": "concurrency=",
    "rate_limit": "rate=",
    "lifo": 'order="lifo"',
    "fifo": 'order="fifo"',
    "job_timeout": "max_duration=",
    "time_limit": "max_duration=",
    "max_runtime": "max_duration=",
    "default_timeout": "max_duration=",
    "hours": 'window="22:00-06:00"',
    "schedule": 'window="22:00-06:00"',
}
"""Settings of queues."""

OF_SCHEDULES = {
    "crontab": "cron=",
    "cron_string": "cron=",
    "schedule": "cron=, every= or at=",
    "interval": "every=",
    "run_every": "every=",
    "period": "every=",
    "seconds": 'every="30s"',
    "minutes": 'every="5m"',
    "hours": 'every="2h"',
    "days": 'every="1d"',
    "minute": 'cron="5 * * * *"',
    "hour": 'cron="0 3 * * *"',
    "day_of_week": 'cron="0 3 * * MON"',
    "run_at": "at=",
    "run_date": "at=",
    "eta": "at=",
    "delay": "start=, or at=",
    "countdown": "start=, or at=",
    "timezone": "tz=",
    "start_date": "start=",
    "start_time": "start=",
    "end_date": "end=",
    "end_time": "end=",
    "coalesce": "misfire=",
    "misfire_grace_time": "misfire=ph.Misfire(grace=…)",
    "catchup": "misfire=",
    "max_instances": "overlap=",
    "id": "name=",
    "key": "name=",
    "args": "arguments of the call: app.schedule(kind.bind(1, 2), …)",
    "kwargs": "arguments of the call: app.schedule(kind.bind(name=1), …)",
}
"""Options of `app.schedule`."""

OF_OBSERVERS = {
    **OPTIONS,
    "kind": "name=",
    "count": "by=",
    "threshold": "by=",
    "more_than": "by=",
    "period": "within=",
    "window": "within=",
    "per": "within=",
}
"""Options of `app.on`."""

METHODS = {
    "delay": "enqueue(…)",
    "adelay": "aenqueue(…)",
    "apply_async": "using(…).enqueue(…)",
    "send": "enqueue(…)",
    "asend": "aenqueue(…)",
    "send_with_options": "using(…).enqueue(…)",
    "defer": "enqueue(…)",
    "defer_async": "aenqueue(…)",
    "configure": "using(…)",
    "options": "using(…)",
    "schedule": "using(delay=…).enqueue(…), or app.schedule(kind.bind(…), …)",
    "enqueue_in": "using(delay=…).enqueue(…)",
    "enqueue_at": "using(run_at=…).enqueue(…)",
    "s": "bind(…)",
    "si": "bind(…)",
    "signature": "bind(…)",
    "message": "bind(…)",
    "call_local": "a plain call: kind(…)",
    "fn": "a plain call: kind(…)",
    "apply": "a plain call: kind(…)",
    "map": "app.enqueue_many([kind.bind(each) for each in …])",
    "task": "job: @app.job",
    "actor": "job: @app.job",
    "periodic_task": "schedule(…)",
    "AsyncResult": "get_job(…)",
}
"""Methods of kinds and of applications."""


def advice(name: str, known: Collection[str], *, elsewhere: dict[str, str] = OPTIONS, listed: str = "") -> str:
    """Return what to write instead of an unknown name, as the continuation after `; `. `listed` names all that are
    known.
    """
    if name in elsewhere and name not in known:
        return f"here that is {elsewhere[name]}"
    if near := difflib.get_close_matches(name, known, n=1):
        return f"did you mean {near[0]!r}?"
    return listed


def no_attribute(holder: object, words: str, name: str) -> AttributeError:
    """Make the error for a method that a kind or an application lacks; `words` name the holder."""
    told = "" if name.startswith("_") else advice(name, dir(type(holder)), elsewhere=METHODS)
    return AttributeError(f"{words} has no attribute {name!r}{'; ' if told else ''}{told}", name=name, obj=holder)
