"""Tables that fit the terminal: columns are narrowed as far as they stay readable, then the least important are
dropped.

Pipes and files receive everything, and nothing is cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from posthorse.cli.screen import clean, out_rich, say, width

if TYPE_CHECKING:
    from rich.text import Text

BETWEEN_COLUMNS = 2
NARROWEST_COLUMN = 4
"""The width of a column if not even the required ones fit."""


class Column(NamedTuple):
    """A column. `least` is its minimum width; None for one that is never cut.

    If the terminal is too narrow for all, those of the highest `rank` are dropped first; those of rank 0 stay.
    """

    heading: str
    least: int | None = None
    rank: int = 0
    is_number: bool = False


def out_table(
    columns: Sequence[Column], rows: Sequence[Sequence[Text | str]], *, indent: int = 0, has_headings: bool = True
) -> None:
    """Print a table as data; name the columns that did not fit on stderr."""
    from rich.cells import cell_len
    from rich.padding import Padding
    from rich.table import Table

    cells = [[clean(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    widest = [
        max(cell_len(column.heading) if has_headings else 0, *(cell_len(str(row[place])) for row in cells))
        for place, column in enumerate(columns)
    ]
    shown = layout(columns, widest, width() - indent)
    table = Table(
        box=None, pad_edge=False, padding=(0, BETWEEN_COLUMNS, 0, 0), header_style="bold", show_header=has_headings
    )
    for place, room in shown.items():
        column = columns[place]
        table.add_column(
            column.heading,
            no_wrap=True,
            overflow="ellipsis",
            width=room,
            justify="right" if column.is_number else "left",
        )
    for row in cells:
        table.add_row(*(row[place] for place in shown))
    out_rich(Padding(table, (0, 0, 0, indent)))
    left_out = [column.heading for place, column in enumerate(columns) if place not in shown]
    if left_out and has_headings:
        say(f"The terminal is too narrow for {', '.join(left_out)}.")


def layout(columns: Sequence[Column], widest: Sequence[int], room: int) -> Mapping[int, int]:
    """Return the columns that fit into so many cells, by index, with their widths."""
    shown = list(range(len(columns)))

    def least(place: int) -> int:
        narrowest = columns[place].least
        return widest[place] if narrowest is None else min(widest[place], narrowest)

    def gaps() -> int:
        return BETWEEN_COLUMNS * (len(shown) - 1)

    while sum(map(least, shown)) + gaps() > room:
        last = max(shown, key=lambda place: (columns[place].rank, place))
        if columns[last].rank == 0:
            break
        shown.remove(last)
    fitted = {place: widest[place] for place in shown}
    flexible = [place for place in shown if columns[place].least is not None]
    while sum(fitted.values()) + gaps() > room:
        can_shrink = [place for place in flexible if fitted[place] > least(place)] or [
            place for place in flexible if fitted[place] > NARROWEST_COLUMN
        ]
        if not can_shrink:
            break
        fitted[max(can_shrink, key=lambda place: fitted[place])] -= 1
    return fitted
