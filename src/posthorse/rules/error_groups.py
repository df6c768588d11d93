"""Errors in groups: those of one kind of job that come from the same place and say the same have one fingerprint."""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from posthorse.rules.job import JobError

MAX_FRAMES = 3
"""How many frames tell groups apart: the innermost of the user's code."""

FINGERPRINT_LENGTH = 16
MAX_MESSAGE = 200
MAX_KEPT = 200
"""Groups, and tracebacks, that are kept, because many jobs fail alike."""

_FRAME = re.compile(r'^ *File "([^"\n]+)", line \d+, in (\S+)', re.MULTILINE)
_OF_OTHERS = re.compile(
    r"[/\\](?:lib[/\\]python\d|site-packages|dist-packages|posthorse[/\\](?:worker|app|rules)[/\\])|^<"
)
_VARYING = re.compile(
    r"""'[^'\n]*'|"[^"\n]*"|`[^`\n]*`|\b0x[0-9a-fA-F]+\b"""
    r"""|\b(?=[\w-]*\d)[0-9a-fA-F]{8,}(?:-[0-9a-fA-F]{4,})*\b|\d+(?:[.,:]\d+)*"""
)
"""Quoted texts, addresses, ids, numbers."""
_MAY_VARY = re.compile(r"""[0-9'"`]""")
"""What each of them has; most messages have none, and this tells so much sooner."""


class Group(NamedTuple):
    """A group of errors."""

    fingerprint: str
    kind: str
    type: str
    message: str
    """Of an error of the group, with its quoted texts, ids and numbers blanked; if it has none, where it was raised."""


def group_of(kind: str, error: JobError, *, is_secret: bool) -> Group:
    """Return the group of an error. If it is secret, its message tells neither groups apart nor is part of them."""
    # Without its last line, the error itself: thousands of jobs that fail at one place have the rest in common.
    frames = frames_of((error.traceback or "").rstrip("\n").rpartition("\n")[0])
    return _group(kind, error.type, "" if is_secret else blanked(error.message), frames)


@lru_cache(maxsize=MAX_KEPT)
def _group(kind: str, type: str, message: str, frames: tuple[str, ...]) -> Group:
    told = "\0".join((kind, type, message, *frames))
    fingerprint = sha256(told.encode(errors="surrogatepass")).hexdigest()[:FINGERPRINT_LENGTH]
    return Group(fingerprint, kind, type, message or ("in " + " < ".join(reversed(frames)) if frames else ""))


@lru_cache(maxsize=MAX_KEPT)
def frames_of(traceback: str) -> tuple[str, ...]:
    """Return the innermost frames of the user's code; of a traceback without any, its innermost frames.

    A frame is its file, with one folder, and its function. Lines have no part in it, because every edit moves them.
    """
    found: list[tuple[str, str]] = _FRAME.findall(traceback)
    own = [frame for frame in found if _OF_OTHERS.search(frame[0]) is None]
    return tuple(f"{_short(path)}:{name}" for path, name in (own or found)[-MAX_FRAMES:])


def _short(path: str) -> str:
    return "/".join(re.split(r"[/\\]", path)[-2:])


def blanked(message: str) -> str:
    """Return the first line of a message without what differs from error to error."""
    line = message.partition("\n")[0][: 5 * MAX_MESSAGE]
    return (_VARYING.sub("#", line) if _MAY_VARY.search(line) else line)[:MAX_MESSAGE]
