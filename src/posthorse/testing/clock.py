"""The clock of a test: it stands still until the test moves it, and every time that Posthorse stores follows it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from posthorse.clock import Clock, micros_of, moment
from posthorse.errors import InvalidOption
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.values.type_mismatch import short

ONLY_FORWARD = (
    "time only moves forward in a store; begin the test at another time with pt.kit(app, now=…) or the fixture "
    "posthorse_now"
)


class StandingClock(Clock):
    """A clock for stores without their own: wall time and boot time stand still, and only `shift` moves them.

    Wall time goes on by a microsecond whenever it is read, because jobs are lined up by it.
    """

    __slots__ = ("_boot_at", "_wall_at")

    def __init__(self) -> None:
        super().__init__()
        self._wall_at, self._boot_at = super().now(), super().boot_now()

    def now(self) -> int:
        self._wall_at += 1
        return self._wall_at + self.shift

    def boot_now(self) -> int:
        return self._boot_at + self.shift


class FakeClock:
    """The clock of the stores of a kit, as tests move it. Nothing sleeps: `advance("3d")` takes no time.

    Schedules, delays, backoffs, leases, keys, rates, expiries and retention depend on it. Timeouts of running jobs do
    not, nor does `datetime.now()` in your code.
    """

    def __init__(self, clock: Clock, before: Callable[[], None], after: Callable[[], None]) -> None:
        """`before` and `after` are called around each move."""
        self._clock = clock
        self._before = before
        self._after = after

    @property
    def now(self) -> datetime:
        """What time it is for Posthorse, in UTC."""
        return moment(self._clock.now())

    def advance(self, by: Duration) -> datetime:
        """Let time pass: `advance("3d")`, seconds or a timedelta. Return the new time. Raises InvalidOption.

        It runs no job: what is due then runs at the next `drain`.
        """
        if _is_negative(by):
            raise InvalidOption(f"advance: {short(by)} goes back, and {ONLY_FORWARD}")
        return self._move(as_timedelta(by, name="by"))

    def move_to(self, at: datetime) -> datetime:
        """Let time pass until this moment. Raises InvalidOption for one in the past, because time only moves forward.

        A test that begins at another time gives it to the kit: `pt.kit(app, now=…)`, or the fixture `posthorse_now`.
        """
        if at.tzinfo is None:
            raise InvalidOption(f"move_to: {at} has no time zone; write datetime(…, tzinfo=UTC)")
        if at < self.now:
            raise InvalidOption(f"move_to: {at} is before {self.now}, and {ONLY_FORWARD}")
        return self._move(at - self.now)

    def _move(self, by: timedelta) -> datetime:
        self._before()
        self._clock.advance(by)
        self._after()
        return self.now

    def __repr__(self) -> str:
        return f"<FakeClock {self.now:%Y-%m-%d %H:%M:%S}>"


def _is_negative(by: object) -> bool:
    if isinstance(by, str):
        return by.strip().startswith("-")
    if isinstance(by, timedelta):
        return by < timedelta(0)
    return isinstance(by, int | float) and by < 0


def begin_at(clock: Clock, at: datetime) -> None:
    """Set a clock that no store has used yet. Raises InvalidOption."""
    if at.tzinfo is None:
        raise InvalidOption(f"now is {at}, without a time zone; write datetime(…, tzinfo=UTC)")
    clock.shift += micros_of(at) - clock.now()
