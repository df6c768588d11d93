"""The screen of a demonstration: live bars in a terminal, plain lines elsewhere. It knows neither jobs nor
processes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

import posthorse as ph


class Screen:
    """A narration, line by line; below its last line, it shows how far the job is."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._began = time.monotonic()
        self._live: Live | None = None
        self._tenths_told = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Give `draw` a place on the screen for the duration of the block."""
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, auto_refresh=False, transient=True) as self._live:
            yield
        self._live = None

    def say(self, line: str, style: str = "") -> None:
        """Print one line of narration, with the seconds since the beginning."""
        seconds = int(time.monotonic() - self._began)
        clock = Text(f"{seconds // 60:02}:{seconds % 60:02}  ", style="dim")
        self.console.print(clock + Text(line, style=style), soft_wrap=not self.console.is_terminal)

    def draw(self, status: ph.Status, runner: int | None, footer: str) -> None:
        """Show the current state of the job."""
        if self._live is not None:
            self._live.update(_picture(status, runner, footer, self.console.width), refresh=True)
            return
        tenths = int((status.progress.fraction or 0.0) * 10)
        if tenths > self._tenths_told:  # without a terminal, print a line at each tenth
            self._tenths_told = tenths
            self.say(f"  {status.progress}")

    def print(self, line: str) -> None:
        """Print a line without a time."""
        self.console.print(line, soft_wrap=True, markup=False)

    def table(self, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows under headings: the first column is a name, the others are numbers."""
        table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
        for position, heading in enumerate(headings):
            table.add_column(heading, justify="right" if position else "left", header_style="dim")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)


_STYLES = {"processing": "green", "paused": "yellow", "completed": "bold green", "failed": "bold red"}


def _picture(status: ph.Status, runner: int | None, footer: str, width: int) -> Group:
    progress = status.progress
    name = Text.assemble((f"{status.kind}  ", "bold"), (status.state, _STYLES.get(status.state, "cyan")))
    if runner is not None and status.state is ph.State.PROCESSING:
        name.append(f"  in runner {runner}", style="dim")
    bar = Table.grid()
    bar.add_row(ProgressBar(total=progress.total or 1, completed=progress.done, width=min(width - 1, 79)))
    return Group(Text(), name, bar, Text(str(progress)), Text(footer, style="dim"))
