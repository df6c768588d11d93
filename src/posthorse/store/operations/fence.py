"""The fence: what every write of an attempt names. If its lease has ended, nothing of it is committed any more."""

from __future__ import annotations

from typing import NamedTuple


class Fence(NamedTuple):
    """The attempt that a write belongs to.

    The epoch alone would not be enough: a database that lost acknowledged commits may assign the same one again.
    """

    job: str
    epoch: int
    runner: str
