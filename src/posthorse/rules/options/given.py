"""Check options as users gave them: each value by its row of the table. A name without a row gets advice."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from posthorse.errors import InvalidOption
from posthorse.rules.options.option import OptionPlace
from posthorse.rules.options.table import options_at
from posthorse.rules.other_systems import OF_OBSERVERS, OF_QUEUES, OF_SCHEDULES, advice
from posthorse.rules.values.type_mismatch import short

_OF_JOBS = options_at(OptionPlace.JOB)
_CHECKS_OF_JOBS = {name: option.check for name, option in _OF_JOBS.items() if name != "kind"}
_OF_USING = options_at(OptionPlace.USING)
_CHECKS_OF_USING = {name: option.check_of_job or option.check for name, option in _OF_USING.items()}


def checked_of_job(given: Mapping[str, object]) -> dict[str, object]:
    """Check the options of a declaration; leave out None. Raises InvalidOption."""
    for name in given:
        if name not in _CHECKS_OF_JOBS:
            raise _unknown_of_job(name)
    return {name: _CHECKS_OF_JOBS[name](value) for name, value in given.items() if value is not None}


def checked_of_using(given: Mapping[str, object]) -> dict[str, object]:
    """Check the options of `using`; leave out None. Raises InvalidOption."""
    checked: dict[str, object] = {}
    for name, value in given.items():
        check = _CHECKS_OF_USING.get(name)
        if check is None:
            raise _unknown_of_using(name)
        if value is not None:
            checked[name] = check(value)
    return checked


def check_names_of_on(given: Collection[str], own: Sequence[str]) -> None:
    """Raise InvalidOption for an option that `app.on` does not have; `own` are those that only observers have."""
    known = (*own, *options_at(OptionPlace.ON))
    for name in given:
        if name not in known:
            hint = advice(name, known, elsewhere=OF_OBSERVERS, listed=f"known are {', '.join(known)}")
            raise InvalidOption(f"app.on() has no option {name!r}; {hint}")


def unknown_of_schedule(name: str) -> InvalidOption:
    """Make the error for an option that `app.schedule` does not have."""
    if name in options_at(OptionPlace.SCHEDULED):
        return InvalidOption(f"{name} is set on the call: app.schedule(kind.using({name}=…).bind(…), …)")
    if name in _CHECKS_OF_JOBS:
        return InvalidOption(f"{name} is set where the kind of the call is declared: @app.job({name}=…)")
    known = options_at(OptionPlace.SCHEDULE)
    hint = advice(name, known, elsewhere=OF_SCHEDULES, listed=f"known are {', '.join(known)}")
    return InvalidOption(f"app.schedule() has no option {name!r}; {hint}")


def unknown_of_queue(name: object, queue: str, known: Collection[str]) -> InvalidOption:
    """Make the error for a setting that queues do not have."""
    listed = f"known are {', '.join(known)}"
    if not isinstance(name, str):
        hint = listed
    elif name in _CHECKS_OF_JOBS and name not in options_at(OptionPlace.QUEUE):
        hint = f"it is set on a kind: @app.job({name}=…)"
    else:
        hint = advice(name, known, elsewhere=OF_QUEUES, listed=listed)
    return InvalidOption(f"queue {queue!r} has no setting {short(name)}; {hint}")


def _unknown_of_job(name: str) -> InvalidOption:
    if name in options_at(OptionPlace.QUEUE):
        return InvalidOption(f"{name} is set on a queue and not on a kind: app.queue(…, {name}=…)")
    hint = advice(name, _CHECKS_OF_JOBS, listed=f"known are {', '.join(_OF_JOBS)}")
    return InvalidOption(f"@app.job has no option {name!r}; {hint}")


def _unknown_of_using(name: str) -> InvalidOption:
    if name in _OF_JOBS:
        return InvalidOption(f"using() cannot change {name}; it is set where the kind is declared: @app.job({name}=…)")
    hint = advice(name, _OF_USING, listed=f"known are {', '.join(_OF_USING)}")
    return InvalidOption(f"using() has no option {name!r}; {hint}")
