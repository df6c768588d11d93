"""Checks of single values: each takes what a user gave and returns what is kept, or raises InvalidOption.

Checks of structured values (limits, backoffs, windows) are in their own modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import cast

from posthorse.clock import micros_of, microseconds
from posthorse.errors import InvalidOption, InvalidSettings
from posthorse.rules.byte_sizes import Size, as_bytes, size_text
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.job import checked_name
from posthorse.rules.labels import as_labels
from posthorse.rules.limits import Rate, Sequence, as_rate, as_sequence
from posthorse.rules.values.type_mismatch import short
from posthorse.rules.wall_time import checked_moment

MIN_MEMORY = 64_000_000
"""No application fits into less; bytes."""

MAX_TAGS = 50

LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
MAX_LEVEL = 999


def named(what: str) -> Callable[[object], str]:
    """Make the check of a name."""
    return partial(checked_name, what=what)


def whole(name: str, most: int) -> Callable[[object], int]:
    """Make the check of a whole number from 1 on."""

    def check(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most:
            return value
        raise InvalidOption(f"{name} is {short(value)}; it must be a whole number from 1 to {most:,}")

    return check


def flag(name: str) -> Callable[[object], bool]:
    """Make the check of a truth value."""

    def check(value: object) -> bool:
        if isinstance(value, bool):
            return value
        raise InvalidOption(f"{name} is {short(value)}; it must be true or false")

    return check


def checked_level(value: object) -> int:
    """Check a level of `logging`, by name or number; it is kept as a number. Raises InvalidOption."""
    if isinstance(value, str) and value.strip().upper() in LEVELS:
        return LEVELS[value.strip().upper()]
    number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= MAX_LEVEL:
        return number
    raise InvalidOption(f"log_level is {short(value)}; it must be one of {', '.join(LEVELS)}, or a number of `logging`")


def level_name(level: int) -> str:
    """Return a level of `logging` as users write it: its name, or the number."""
    return next((name for name, number in LEVELS.items() if number == level), str(level))


def span(name: str) -> Callable[[Duration], float]:
    """Make the check of a duration above zero; it is kept in seconds."""
    return partial(checked_span, name=name)


def wait(name: str) -> Callable[[object], float]:
    """Make the check of a duration that may be zero; it is kept in seconds."""

    def check(value: object) -> float:
        return as_timedelta(cast("Duration", value), name=name).total_seconds()

    return check


def unchecked(value: object) -> object:
    """Return the value unchanged: it is checked where it is used."""
    return value


def checked_span(value: Duration, *, name: str) -> float:
    """Check a duration above zero; return seconds. Raises InvalidOption."""
    seconds = as_timedelta(value, name=name).total_seconds()
    if seconds <= 0:
        raise InvalidOption(f"{name} must be longer than zero; leave it out for none")
    return seconds


def checked_tags(value: object) -> tuple[str, ...]:
    """Check up to 50 tags. Raises InvalidOption."""
    if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
        raise InvalidOption(f"tags is {short(value)}; give a list of names")
    tags = tuple(checked_name(tag, what="tag") for tag in cast("Iterable[object]", value))
    if len(tags) > MAX_TAGS:
        raise InvalidOption(f"{len(tags)} tags are more than the {MAX_TAGS} that a job may have")
    return tags


def checked_aliases(value: object) -> tuple[str, ...]:
    """Check names of kinds. Raises InvalidOption."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidOption(f"aliases is {short(value)}; give a list of names")
    return tuple(checked_name(alias, what="alias") for alias in cast("Iterable[object]", value))


def checked_isolation(value: object) -> str:
    """Check that the value is "process", the only choice. Raises InvalidOption."""
    if value == "process":
        return "process"
    raise InvalidOption(
        f'isolation is {short(value)}; it must be "process", or be left out for the loop (async) or a thread of the '
        "worker"
    )


def checked_trace(value: object) -> str:
    """Check that the value is "child" or "link". Raises InvalidOption."""
    if value in ("child", "link"):
        return str(value)
    raise InvalidOption(f'trace is {short(value)}; it must be "child" or "link"')


def checked_memory(value: Size) -> int:
    """Check a size in memory that is large enough for an application; return bytes. Raises InvalidOption."""
    size = as_bytes(value, name="max_memory")
    if size < MIN_MEMORY:
        raise InvalidOption(f"max_memory is {size_text(size)}; an application needs {size_text(MIN_MEMORY)} at least")
    return size


def checked_sequence_of_job(value: object) -> Sequence:
    """Check a sequence for a single job, which must give the key itself. Raises InvalidOption."""
    sequence = as_sequence(value)
    if sequence.per is not None:
        raise InvalidOption(
            f"sequence is keyed by {sequence.per!r} where one job is enqueued; give the key itself, or declare it "
            "with the kind: @app.job(sequence=ph.Sequence(per=…))"
        )
    return sequence


def checked_delay(value: object) -> int:
    """Check a duration; return microseconds. Raises InvalidOption."""
    return microseconds(as_timedelta(cast("Duration", value), name="delay"))


def checked_run_at(value: object) -> int:
    """Check a moment that a job may wait for; return microseconds since the epoch. Raises InvalidOption."""
    moment = checked_moment(value, name="run_at")
    if not datetime(2000, 1, 1, tzinfo=UTC) <= moment <= datetime.now(UTC) + timedelta(days=36_525):
        raise InvalidOption(f"run_at {moment.isoformat()} lies before 2000 or more than a century ahead")
    return micros_of(moment)


def checked_order(value: object) -> str:
    """Check that the value is one of the orders. Raises InvalidOption."""
    if value in ("fifo", "lifo"):
        return value
    raise InvalidOption(
        f'order is {short(value)}; it must be "fifo" (first come, first served) or "lifo" (newest first)'
    )


def checked_retry_budget(value: object) -> Rate:
    """Check a rate that applies to a whole queue. Raises InvalidOption."""
    rate = as_rate(value)
    for name in ("per", "name"):
        if (given := getattr(rate, name)) is not None:
            raise InvalidOption(
                f"retry_budget has {name}={short(given)}; it is one for all of the queue: leave {name} out"
            )
    return rate


def instance_type(value: object) -> dict[str, str]:
    """Convert an instance type to a label. Raises InvalidOption."""
    return as_labels({"instance_type": value})


def setting_text(name: str) -> Callable[[object], str]:
    """Make the check of a setting that is a text. It raises InvalidSettings and never shows the value, which may be
    secret.
    """

    def check(value: object) -> str:
        if isinstance(value, str):
            return value
        may_be_secret = name == "url" and not isinstance(value, int | float)
        shown = f"of the type {type(value).__name__}" if may_be_secret else short(value)
        raise InvalidSettings(f"{name} is {shown}; it must be a text")

    return check


def setting_count(name: str) -> Callable[[object], int]:
    """Make the check of a setting that is a whole number. It raises InvalidSettings."""

    def check(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise InvalidSettings(f"{name} is {short(value)}; it must be a whole number")

    return check


def setting_flag(name: str) -> Callable[[object], bool]:
    """Make the check of a setting that is true or false. It raises InvalidSettings."""

    def check(value: object) -> bool:
        if isinstance(value, bool):
            return value
        raise InvalidSettings(f"{name} is {short(value)}; it must be true or false")

    return check


def setting_span(name: str) -> Callable[[object], float]:
    """Make the check of a setting that is a duration; it is kept in seconds. It raises InvalidSettings."""

    def check(value: object) -> float:
        try:
            return as_timedelta(cast("Duration", value), name=name).total_seconds()
        except InvalidOption as error:
            raise InvalidSettings(f"a setting cannot be used: {error}") from None

    return check
