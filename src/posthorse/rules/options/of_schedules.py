"""The options of schedules. Their values are checked together, when the schedule is declared."""

from __future__ import annotations

from posthorse.rules.options import checks
from posthorse.rules.options.checks import (
    named,
)
from posthorse.rules.options.option import Option, OptionPlace

OF_SCHEDULES: tuple[Option, ...] = (
    Option(
        "name",
        (OptionPlace.SCHEDULE,),
        named("the name of a schedule"),
        "what the schedule is called in the store and on the command line",
        is_required=True,
    ),
    Option(
        "cron",
        (OptionPlace.SCHEDULE,),
        checks.unchecked,
        "minute, hour, day of month, month, day of week; with six fields, seconds come first",
    ),
    Option(
        "every",
        (OptionPlace.SCHEDULE,),
        checks.unchecked,
        "in place of `cron`, an interval of a second or longer, counted from `start` or from 1970-01-01 00:00 UTC",
    ),
    Option("at", (OptionPlace.SCHEDULE,), checks.unchecked, "in place of `cron`, one aware datetime, or several"),
    Option(
        "tz",
        (OptionPlace.SCHEDULE,),
        checks.unchecked,
        "the zone in which a cron expression is read and times are shown; else UTC",
    ),
    Option("start", (OptionPlace.SCHEDULE,), checks.unchecked, "an aware datetime: no run before it"),
    Option("end", (OptionPlace.SCHEDULE,), checks.unchecked, "an aware datetime: no run from it on"),
    Option(
        "misfire",
        (OptionPlace.SCHEDULE,),
        checks.unchecked,
        "which missed times still run: the latest (`once`, the default), none (`skip`), `all`, or as `ph.Misfire` says",
    ),
    Option(
        "overlap",
        (OptionPlace.SCHEDULE,),
        checks.unchecked,
        "what happens at a time while an earlier run is not over: the time is skipped (`skip`, the default), gets its "
        "job (`allow`), or the earlier run is cancelled (`cancel`)",
    ),
    Option("jitter", (OptionPlace.SCHEDULE,), checks.unchecked, "each run starts up to so much later; else 0"),
)
