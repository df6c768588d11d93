"""The terminal: data on stdout, messages on stderr, and nothing from a job that could control the terminal.

This module knows no jobs and no store.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
import unicodedata
from typing import TYPE_CHECKING, TextIO

import click
import msgspec

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

WIDEST = 1_000
"""Columns of a table in a file or a pipe, where nothing is cut off."""

_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, cursors
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # titles, links, what else has an end
    r"|\x1b[ -/]*[0-~]"
)
"""Sequences that a terminal takes as one command: removing only the control characters would leave the rest."""

_JOINERS = frozenset("\u200c\u200d")  # inside emoji and many scripts
_RISKY_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def clean(text: str, *, keep_lines: bool = False) -> str:
    """Remove what could control a terminal: controls, escapes, marks of direction. Line breaks become spaces."""
    if text.isascii() and text.isprintable():
        return text
    text = _SEQUENCES.sub("", text)
    return "".join(_cleaned(character, keep_lines) for character in text)


def out(line: str = "") -> None:
    """Print data: one line on stdout, cleaned. Raises OSError if it cannot be written."""
    out_as_is(clean(line))


def out_as_is(line: str) -> None:
    """Print data: one line on stdout that is already clean, and may have colours. Raises OSError if it cannot be
    written.
    """
    try:
        click.echo(line)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, f"stdout takes no more ({error.strerror}); what was done stays done") from error


def say(sentence: str) -> None:
    """Print a message: one line on stderr, cleaned. If it cannot be written, only the exit code remains."""
    _say_as_is(clean(sentence))


def complain(message: str) -> None:
    """Print an error on stderr. Further lines are indented, so that none looks like another message."""
    label = click.style("Error:", fg="red", bold=True) if has_color(sys.stderr) else "Error:"
    first, *others = clean(message, keep_lines=True).split("\n")
    _say_as_is("\n".join([f"{label} {first}", *(f"  {line.removeprefix('  ')}" for line in others)]))


def _say_as_is(text: str) -> None:
    try:
        click.echo(text, err=True)
    except BrokenPipeError:
        raise
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def out_json(value: object) -> None:
    """Print data: one line of JSON that is harmless for a terminal and reads back exactly."""
    text = msgspec.json.encode(value).decode()
    out_as_is(_RISKY_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def is_terminal(stream: TextIO | None = None) -> bool:
    """Return whether stdout, or another stream, is a terminal."""
    return _is_terminal(stream or sys.stdout)


def can_animate(stream: TextIO) -> bool:
    """Return whether lines on a stream can be redrawn."""
    return _is_terminal(stream) and os.environ.get("TERM") != "dumb"


def size_of(stream: TextIO) -> os.terminal_size:
    """Return columns and lines of a terminal, from the environment or the terminal itself."""
    try:
        is_ = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        is_ = os.terminal_size((80, 24))
    said = [os.environ.get(name, "") for name in ("COLUMNS", "LINES")]
    columns, lines = (int(text) if text.isdecimal() else 0 for text in said)
    return os.terminal_size((columns or is_.columns or 80, lines or is_.lines or 24))


def has_color(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal with colours, and no variable turns them off."""
    return _is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width() -> int:
    """Return the columns to fill: those of the terminal, or as many as needed."""
    return shutil.get_terminal_size().columns if is_terminal() else WIDEST


def out_rich(what: RenderableType) -> None:
    """Print data: a rich object on stdout, without rich's spaces at the ends of lines."""
    pane = io.StringIO()
    console(pane).print(what, end="")
    for line in pane.getvalue().rstrip("\n").split("\n"):
        out_as_is(line.rstrip())


def console(file: TextIO | None = None, *, shown_on: TextIO | None = None) -> Console:
    """Return a rich console that prints exactly what it is given; the width is that of stdout by default."""
    from rich.console import Console

    shown_on = shown_on or sys.stdout
    return Console(
        file=file or shown_on,
        width=width(),
        force_terminal=_is_terminal(shown_on),
        no_color=not has_color(shown_on),
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )


def _cleaned(character: str, keep_lines: bool) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    if character == "\n" and keep_lines:
        return character
    if character in "\n\r\t" or unicodedata.category(character).startswith("Z"):
        return " "
    return ""


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()
