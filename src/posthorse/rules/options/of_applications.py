"""The settings of applications, and what jobs and queues may decide for themselves: logs and retention."""

from __future__ import annotations

from posthorse.rules.options import checks
from posthorse.rules.options.checks import (
    flag,
    setting_count,
    setting_flag,
    setting_span,
    setting_text,
)
from posthorse.rules.options.option import Option, OptionPlace
from posthorse.rules.retention import as_keep

OF_APPLICATIONS: tuple[Option, ...] = (
    Option(
        "url",
        (OptionPlace.SETTING,),
        setting_text("url"),
        "the store: `sqlite:///folder/file.db` (four slashes for an absolute path) or "
        "`postgresql://user:password@host/database`, with `%40` for an `@`, `%2F` for a `/` and `%25` for a `%` in the "
        "password",
    ),
    Option(
        "schema",
        (OptionPlace.SETTING,),
        setting_text("schema"),
        "PostgreSQL: the schema that holds Posthorse's tables; applications with different schemas can share a "
        "database",
    ),
    Option(
        "lease",
        (OptionPlace.SETTING,),
        setting_span("lease"),
        "how long a runner may be silent before other workers take its jobs; at least 3 s. A slice transaction may "
        "take a third of it",
    ),
    Option(
        "heartbeat",
        (OptionPlace.SETTING,),
        setting_span("heartbeat"),
        "how often a lease is renewed; at most half the lease. If you set only `lease`, a third of it, at most 10 s",
    ),
    Option(
        "stall",
        (OptionPlace.SETTING,),
        setting_span("stall"),
        "how long a runner's loop may be blocked by a job before the runner is replaced",
    ),
    Option(
        "grace",
        (OptionPlace.SETTING,),
        setting_span("grace"),
        "how long a stopping worker waits for running jobs; set the stop timeout of your service manager a little "
        "higher",
    ),
    Option(
        "poll",
        (OptionPlace.SETTING,),
        setting_span("poll"),
        "how often an idle runner polls for jobs if no notification woke it",
    ),
    Option(
        "store_timeout",
        (OptionPlace.SETTING,),
        setting_span("store_timeout"),
        "how long a call waits for a store that cannot be reached, or for a locked SQLite file, before it raises "
        "`ph.StoreUnreachable`; `None` is 30 s, and 5 s inside a running event loop",
        page="configuration.md#durations",
    ),
    Option(
        "release",
        (OptionPlace.SETTING,),
        setting_text("release"),
        "the release of your application, such as a version or a commit; figures and errors name it",
        "none",
        page="figures.md#releases",
    ),
    Option(
        "tenant_figures",
        (OptionPlace.SETTING,),
        setting_flag("tenant_figures"),
        "whether figures are counted for each tenant, too",
        page="figures.md#what-is-counted",
    ),
    Option(
        "logs",
        (OptionPlace.JOB, OptionPlace.SETTING),
        flag("logs"),
        "whether what jobs log is stored with them",
        "True",
        page="logs.md",
    ),
    Option(
        "log_level",
        (OptionPlace.JOB, OptionPlace.QUEUE, OptionPlace.SETTING),
        checks.checked_level,
        'the level from which lines are stored: `"DEBUG"`, `"INFO"` … or a number of `logging`',
        "INFO",
        page="logs.md#which-lines-are-stored",
    ),
    Option(
        "capture_print",
        (OptionPlace.JOB, OptionPlace.SETTING),
        flag("capture_print"),
        "whether what jobs print is stored with what they log",
        "False",
        page="logs.md#print",
    ),
    Option(
        "inherit_metadata",
        (OptionPlace.SETTING,),
        setting_flag("inherit_metadata"),
        "whether jobs that a job enqueues get its metadata, under their own",
        page="resources.md#metadata",
    ),
    Option(
        "max_interruptions",
        (OptionPlace.SETTING,),
        setting_count("max_interruptions"),
        "how many workers in a row may be lost while they run a job, without a committed slice in between, before the "
        "job fails",
    ),
    Option(
        "keep",
        (OptionPlace.JOB, OptionPlace.QUEUE, OptionPlace.SETTING),
        as_keep,
        'how long jobs stay after they ended: `"7d"` for completed and cancelled ones, `"forever"`, or `ph.Keep`',
        "30d, dead letters 90d, logs 7d",
        page="retention.md",
    ),
    Option(
        "keep_events",
        (OptionPlace.SETTING,),
        setting_span("keep_events"),
        "how long events are kept, which are written while something watches",
        page="events.md",
    ),
)
