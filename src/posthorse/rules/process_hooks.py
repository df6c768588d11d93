"""The life cycle of a process that runs jobs: the functions to call before its first job and after its last."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from posthorse.errors import InvalidOption
from posthorse.rules.values.type_mismatch import short

Hook = Callable[[], object]


class ProcessHooks:
    """The functions of `app.on_start` and `app.on_stop`, in the order of their declaration."""

    def __init__(self) -> None:
        self.on_start: tuple[Hook, ...] = ()
        self.on_stop: tuple[Hook, ...] = ()

    def add_on_start(self, function: Hook) -> None:
        """Add a plain or async function without parameters. Raises InvalidOption."""
        _check("@app.on_start", function)
        self.on_start = (*self.on_start, function)

    def add_on_stop(self, function: Hook) -> None:
        """Add a plain or async function without parameters. Raises InvalidOption."""
        _check("@app.on_stop", function)
        self.on_stop = (*self.on_stop, function)


def hook_name(function: Hook) -> str:
    """Return how messages name the function."""
    return f"{getattr(function, '__qualname__', repr(function)).rpartition('<locals>.')[2]}()"


def _check(decorator: str, function: Hook) -> None:
    if not callable(function):  # pyright: ignore[reportUnnecessaryComparison]
        raise InvalidOption(f"{decorator} needs a function, not {short(function)}; write it above a def")
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise InvalidOption(
            f"{decorator}: {hook_name(function)} is called without arguments, and cannot be: {error}"
        ) from None
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidOption(
            f"{decorator}: {hook_name(function)} has a yield, so a call would run nothing; for what begins and ends "
            'together write a provider: ph.depends(…, scope="process")'
        )
