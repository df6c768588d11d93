"""Pickle an application and what is declared on it as functions are pickled: by the name of their module.

The application must be in a variable of a module that the other process can import.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from functools import reduce
from pickle import PicklingError
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

MAIN = "__main__"

_known: WeakKeyDictionary[Posthorse, tuple[str, str]] = WeakKeyDictionary()
"""Where applications were found: to look through all modules takes milliseconds."""


def variable_of(app: Posthorse) -> tuple[str, str]:
    """Return the module and the variable of an application. Raises PicklingError if there is none."""
    known = _known.get(app)
    if known is not None and is_found(app, *known):
        return known
    places = list(_places(app))
    if not places:
        raise PicklingError(
            "this application, or a kind or a job of it, cannot be pickled, because no module holds the application in "
            "a variable where another process could find it; write app = ph.Posthorse(…) at the top of a module"
        )
    place = next((place for place in places if place[0] != MAIN), places[0])
    if place[0] != MAIN:
        _known[app] = place
    return place


def application_at(module: str, variable: str) -> Posthorse:
    """Return the application that was pickled, in the process that reads it."""
    app: Posthorse = getattr(importlib.import_module(module), variable)
    return app


def is_found(thing: object, module: str, qualified_name: str) -> bool:
    """Return True if the module has exactly this object under that name, so that the name is enough to pickle it."""
    try:
        return reduce(getattr, qualified_name.split("."), sys.modules.get(module)) is thing
    except AttributeError:
        return False


def _places(app: Posthorse) -> Iterator[tuple[str, str]]:
    for name, module in list(sys.modules.items()):
        for variable, value in list(getattr(module, "__dict__", {}).items()):
            if value is app:
                yield name, variable
