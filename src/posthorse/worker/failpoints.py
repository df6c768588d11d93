"""Named failpoints for tests of durability; inert unless `POSTHORSE_FAILPOINT` names one.

`POSTHORSE_FAILPOINT=after_claim:kill` kills the process there with SIGKILL; `after_claim:kill:3` the third time.
"""

from __future__ import annotations

import os
import signal


def failpoint(name: str) -> None:
    """Does what the environment says is to happen here: nothing, but in tests."""
    if _armed is not None and _armed.name == name:
        _armed.pass_by()


class _Failpoint:
    def __init__(self, name: str, times: int) -> None:
        self.name = name
        self._left = times

    def pass_by(self) -> None:
        self._left -= 1
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _arm(text: str | None) -> _Failpoint | None:
    if not text:
        return None
    name, action, times = (*text.split(":"), "1")[:3]
    if action != "kill":
        raise ValueError(f"POSTHORSE_FAILPOINT={text!r}: the action must be `kill`")
    return _Failpoint(name, int(times))


_armed = _arm(os.environ.get("POSTHORSE_FAILPOINT"))
