"""The table of options: the name of each, where it may be given, its check, and the line that documents it.

The options of `@app.job`, `using`, `app.on`, `app.queue`, files, settings and the command line follow from it, and so
do `help()` and the tables in the documents. Type checkers cannot read it, so `posthorse.app.option_types` repeats the
names and lines with their types; a test compares the two.
"""

from __future__ import annotations

from posthorse.rules.options.of_applications import OF_APPLICATIONS
from posthorse.rules.options.of_jobs import OF_JOBS
from posthorse.rules.options.of_queues import OF_QUEUES
from posthorse.rules.options.of_schedules import OF_SCHEDULES
from posthorse.rules.options.option import Option, OptionPlace

OPTIONS: tuple[Option, ...] = (*OF_JOBS, *OF_QUEUES, *OF_SCHEDULES, *OF_APPLICATIONS)


def options_at(place: OptionPlace) -> dict[str, Option]:
    """Return the options that may be given at this place, by name."""
    return _AT[place]


_AT = {place: {option.name: option for option in OPTIONS if place in option.where} for place in OptionPlace}
