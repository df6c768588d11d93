"""The code location of a kind: where a child finds it, in the runner's application or in the module that declared it.

This module knows names and paths; it imports no user code.
"""

from __future__ import annotations

import sys

import msgspec

from posthorse.errors import PosthorseError
from posthorse.rules.registry import Registered

MAIN = "__main__"
MAIN_OF_A_CHILD = "__mp_main__"
"""The name of a script's module in a child, as in multiprocessing, so that `if __name__ == "__main__":` is False."""


class NotFound(PosthorseError):
    """A child could not find the code of a kind."""


class CodeLocation(msgspec.Struct, frozen=True):
    """One of: an application (`module:attribute`), the path of a script, or a module."""

    target: str | None = None
    script: str | None = None
    module: str = ""


def location_of(registered: Registered, target: str | None) -> CodeLocation:
    """Return where a child finds this kind. Raises NotFound for code that another process cannot import."""
    if target is not None:
        return CodeLocation(target)
    function = registered.function
    if registered.included_in is None and "<locals>" in function.__qualname__:
        raise NotFound(
            f"{registered.kind!r} is declared inside {function.__qualname__.partition('.<locals>')[0]!r}, where its "
            'isolation="process" cannot find it: a child process imports modules; declare it at the top of a module'
        )
    module = registered.included_in or function.__module__  # a bundle's module may know no application
    if module != MAIN:
        return CodeLocation(module=module)
    main = sys.modules[MAIN]
    spec = getattr(main, "__spec__", None)
    if spec is not None:  # python -m package.module
        return CodeLocation(module=spec.name)
    script = getattr(main, "__file__", None)
    if script is None:
        raise NotFound(
            f"{registered.kind!r} was typed into an interpreter and is in no file, so a child process cannot "
            'import it for its isolation="process"; move it into a module'
        )
    return CodeLocation(script=script)


class _Import:
    is_under_way = False


def refuse_workers(while_importing: bool) -> None:
    """Note whether this child imports a job's module: a worker that starts meanwhile is a mistake in that module."""
    _Import.is_under_way = while_importing


def check_may_work() -> None:
    """Raise NotFound if a worker starts while a child imports its module."""
    if _Import.is_under_way:
        raise NotFound(
            "a worker starts while a child process imports the module of its job; put the worker under "
            'if __name__ == "__main__":'
        )
