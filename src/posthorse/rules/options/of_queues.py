"""The options of queues, and the limits, which jobs may have as well."""

from __future__ import annotations

from posthorse.rules.labels import as_labels
from posthorse.rules.limits import as_concurrency, as_rate
from posthorse.rules.options import checks
from posthorse.rules.options.checks import flag, span, wait, whole
from posthorse.rules.options.option import Option, OptionPlace
from posthorse.rules.throttle import as_throttle
from posthorse.rules.window import as_window

MAX_WEIGHT = 1000
MAX_DEPTH = 100_000_000

OF_QUEUES: tuple[Option, ...] = (
    Option(
        "max_depth",
        (OptionPlace.QUEUE,),
        whole("max_depth", MAX_DEPTH),
        "how many jobs may wait in it; beyond that `enqueue` raises `ph.QueueFull`",
        page="#full-queues",
    ),
    Option(
        "order",
        (OptionPlace.QUEUE,),
        checks.checked_order,
        "`fifo`: first come, first served; `lifo`: the newest first, a stack",
    ),
    Option(
        "weight",
        (OptionPlace.QUEUE,),
        whole("weight", MAX_WEIGHT),
        "its share of the work, 1 to 1000, among queues that have jobs of equal priority",
        page="#weights",
    ),
    Option(
        "max_duration",
        (OptionPlace.QUEUE,),
        span("max_duration"),
        "the longest that an attempt may take, whatever its job says",
        page="#the-longest-duration",
    ),
    Option("labels", (OptionPlace.QUEUE,), as_labels, "the labels that a worker must have to serve it", page="#labels"),
    Option(
        "rate",
        (OptionPlace.JOB, OptionPlace.QUEUE),
        as_rate,
        'how many jobs may start in a span of time, across all machines: `"100/s"`, `"10/m"` or '
        '`ph.Rate("10/s", per="tenant")`',
        page="limits.md",
    ),
    Option(
        "concurrency",
        (OptionPlace.JOB, OptionPlace.QUEUE),
        as_concurrency,
        'how many jobs may run at once, across all machines: `20` or `ph.Concurrency(1, per="customer_id")`',
        page="limits.md",
    ),
    Option("fair", (OptionPlace.QUEUE,), flag("fair"), "whether its tenants take turns", page="limits.md#fair-queues"),
    Option(
        "retry_budget",
        (OptionPlace.QUEUE,),
        checks.checked_retry_budget,
        'how many retries may start in a span of time, `"100/m"`; the others start later',
        page="limits.md#retry-budgets",
    ),
    Option(
        "window",
        (OptionPlace.QUEUE,),
        as_window,
        'the hours of the day in which its jobs run: `"22:00-06:00 Europe/Berlin"`',
        page="#windows",
    ),
    Option(
        "throttle",
        (OptionPlace.QUEUE,),
        as_throttle,
        'what must be calm before its long jobs begin their next slice: `ph.Throttle(items="500/s", load=8)`, or a '
        "function",
        page="throttles.md",
    ),
    Option(
        "ageing",
        (OptionPlace.QUEUE,),
        wait("ageing"),
        "after each such wait the oldest job counts as one priority higher; 0 for never",
        page="#nothing-starves",
    ),
    Option("paused", (OptionPlace.QUEUE,), flag("paused"), "true: none of its jobs start"),
    Option("draining", (OptionPlace.LIVE,), flag("draining"), "true: it accepts no new jobs"),
    Option(
        "worker_count",
        (OptionPlace.QUEUE,),
        as_concurrency,
        "another word for `concurrency`",
        "none",
        means="concurrency",
    ),
    Option(
        "instance_type", (OptionPlace.QUEUE,), checks.instance_type, "the label of that name", "none", means="labels"
    ),
)
