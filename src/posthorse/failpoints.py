"""Named failpoints for tests of durability; inert unless `POSTHORSE_FAILPOINT` names one.

`POSTHORSE_FAILPOINT=after_claim:kill` kills the process there with SIGKILL; `after_claim:kill:3` the third time that
it passes; `after_claim:kill:3@lives` only while the file `lives` has bytes, and takes one off each time, so that the
process that follows may live.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol


def failpoint(name: str) -> None:
    """Do what the environment requests here; outside tests, nothing."""
    if _armed is not None and _armed.name == name:
        _armed.pass_by()


@contextmanager
def passing(name: str, act: Callable[[], None]) -> Iterator[None]:
    """Call a function inside the block whenever this process passes a failpoint: for tests of applications."""
    global _armed
    before, _armed = _armed, _Call(name, act)
    try:
        yield
    finally:
        _armed = before


class _Armed(Protocol):
    name: str

    def pass_by(self) -> None: ...


class _Call:
    def __init__(self, name: str, act: Callable[[], None]) -> None:
        self.name = name
        self.pass_by = act


class _Failpoint:
    def __init__(self, name: str, times: int, lives: Path | None) -> None:
        self.name = name
        self._left = times
        self._lives = lives

    def pass_by(self) -> None:
        self._left -= 1
        if self._left <= 0 and self._takes_a_life():
            os.kill(os.getpid(), signal.SIGKILL)

    def _takes_a_life(self) -> bool:
        if self._lives is None:
            return True
        left = self._lives.stat().st_size
        if left:
            os.truncate(self._lives, left - 1)
        return left > 0


def _arm(text: str | None) -> _Failpoint | None:
    if not text:
        return None
    point, _, lives = text.partition("@")
    name, _, action = point.partition(":")
    action, _, times = action.partition(":")
    if action != "kill" or not (times or "1").isdigit():
        raise ValueError(f"POSTHORSE_FAILPOINT={text!r}; write name:kill, name:kill:times or name:kill:times@file")
    return _Failpoint(name, int(times or 1), Path(lives) if lives else None)


_armed: _Armed | None = _arm(os.environ.get("POSTHORSE_FAILPOINT"))
