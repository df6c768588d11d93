"""Show jobs repeatedly: as live bars on a terminal, as lines everywhere else. This module knows no store."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from posthorse.cli.job_display import bar_line, fitting, head_line, one_line, sentence
from posthorse.cli.job_lookup import JobLook
from posthorse.cli.screen import clean, console, out, out_json, say, size_of
from posthorse.cli.summary import RunTally, counts
from posthorse.cli.wording import MARKS, left
from posthorse.rules.job import State
from posthorse.views.job import JobView

if TYPE_CHECKING:
    from rich.text import Text

BARS_INTERVAL, LINES_INTERVAL = 0.25, 1.0
WIDEST_BAR, NARROWEST_BAR = 40, 8
WIDEST_KIND = 20


class LiveDisplay(Protocol):
    """Shows jobs repeatedly."""

    pause: float

    def show(self, looks: Sequence[JobLook]) -> None:
        """Show the current state of the jobs."""
        ...

    def tell(self, words: str) -> None:
        """Print a message on stderr, between what is shown."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Lines:
    """Print a line on stdout for each change of a job."""

    pause = LINES_INTERVAL

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._shown: dict[str, tuple[object, ...]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, looks: Sequence[JobLook]) -> None:
        """Print the jobs that have changed."""
        for look in looks:
            status = look.status
            progress = status.progress
            facts = (status.state, status.attempt, status.requested, progress.done, progress.total, progress.note)
            if self._shown.get(status.id) != facts:
                self._shown[status.id] = facts
                if self._as_json:
                    out_json(JobView.of(status))
                else:
                    out(sentence(look))

    def tell(self, words: str) -> None:
        """Print a line on stderr."""
        say(words)


class Bars:
    """A bar for each job, redrawn in place: running jobs first, then waiting ones, and the numbers of all."""

    pause = BARS_INTERVAL

    def __init__(self, stream: TextIO) -> None:
        from rich.live import Live

        self._stream = stream
        self._console = console(shown_on=stream)
        self._longest_told = 0
        self._tally = RunTally()
        self._shown_at = time.monotonic()
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, looks: Sequence[JobLook]) -> None:
        """Draw as much as fits, with shorter bars for many jobs; count what is left out."""
        from rich.console import Group

        now = time.monotonic()
        self._tally.observe(looks, now - self._shown_at)
        self._shown_at = now
        columns, height = size_of(self._stream)
        self._console.width = columns
        self._live.update(Group(*self._picture(looks, columns, height - 2)), refresh=True)

    def tell(self, words: str) -> None:
        """Print a line above the bars."""
        self._console.print(words)

    def _picture(self, looks: Sequence[JobLook], columns: int, room: int) -> list[Text]:
        if 2 * len(looks) <= room - 1:
            ranked = _ranked(looks)
            lines = self._pairs(ranked, columns)
        else:
            ranked = _ranked(look for look in looks if not look.status.state.is_final)
            lines = self._pairs(ranked, columns) if 2 * len(ranked) <= room - 1 else _in_one_line(ranked, columns, room)
        return [*lines, self._summary(looks, columns)] if len(looks) > 1 else lines

    def _pairs(self, looks: Sequence[JobLook], columns: int) -> list[Text]:
        """Return two lines for each job. The bars have equal length and never grow, so changing text moves nothing."""
        told = [fitting(look, columns - NARROWEST_BAR - 4) for look in looks]
        self._longest_told = max([self._longest_told, *map(len, told)])
        length = max(NARROWEST_BAR, min(WIDEST_BAR, columns - self._longest_told - 4))
        return [
            line
            for look, text in zip(looks, told, strict=True)
            for line in (head_line(look, columns), bar_line(look, text, length, columns))
        ]

    def _summary(self, looks: Sequence[JobLook], columns: int) -> Text:
        from rich.text import Text

        line = Text()
        for state, count in counts(looks).items():
            line.append("  " if line else "").append(f"{MARKS[state][0]} {count:,} {state.value}", MARKS[state][1])
        if until := left(self._tally.forecast(looks), with_range=True):
            line.append(f"  all: {until}", "bold")
        line.truncate(columns, overflow="ellipsis")
        return line


def _in_one_line(looks: Sequence[JobLook], columns: int, room: int) -> list[Text]:
    from rich.cells import cell_len
    from rich.text import Text

    shown = looks if len(looks) < room else looks[: max(1, room - 2)]
    kind_columns = min(WIDEST_KIND, max((cell_len(clean(look.status.kind)) for look in shown), default=0))
    lines = [one_line(look, columns, kind_columns=kind_columns) for look in shown]
    if hidden := len(looks) - len(shown):
        lines.append(Text(f"… and {hidden:,} more", style="bright_black"))
    return lines


def _ranked(looks: Iterable[JobLook]) -> list[JobLook]:
    """Return running jobs, then waiting ones, then those that are over; each in the order in which they came."""
    return sorted(looks, key=lambda look: (look.status.state.is_final, look.status.state is not State.PROCESSING))
