"""One option: its name, where it may be given, its check, and the line that documents it. `table` has all of them."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

Check = Callable[[Any], object]
"""Takes what a user gave and returns what is kept. Raises InvalidOption, or InvalidSettings for a setting."""


class OptionPlace(Enum):
    """Where an option may be given."""

    JOB = "@app.job(…)"
    USING = "using(…)"
    SCHEDULED = "app.schedule(kind.using(…).bind(…), …)"
    """The call of a schedule: `using`, without what a schedule decides itself."""
    SCHEDULE = "app.schedule(…)"
    """Given beside the call, and checked together, because each depends on the others."""
    ON = "@app.on(…)"
    RUN = "posthorse run"
    ENQUEUE = "posthorse enqueue"
    QUEUE = "app.queue(…)"
    """Also Queue.set(…), `posthorse queues set` and the part `queues` of a file."""
    LIVE = "the store"
    """An act on a queue, such as a drain: it is stored beside the settings, but cannot be declared."""
    SETTING = "ph.Posthorse(…)"
    """Also the environment and the file."""


class Option(NamedTuple):
    """One row of the table."""

    name: str
    where: tuple[OptionPlace, ...]
    check: Check
    line: str
    """What the option is: one line without a full stop, for documents, editors and `--help`."""
    default: str | None = None
    """What applies without it, for documents; None if the code has the default."""
    page: str = ""
    """The part of the documents that explains more."""
    check_of_job: Check | None = None
    """The check for a single job, if it is stricter than that of a declaration."""
    means: str = ""
    """The option of which this is another name."""
    is_required: bool = False

    @property
    def sentence(self) -> str:
        """The line as a sentence."""
        return f"{self.line[0].upper()}{self.line[1:]}."
