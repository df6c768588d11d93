"""Where a child finds the code of a kind: the application that the runner serves, or the module that declared it.

Knows names and paths only; nothing is imported here.
"""

from __future__ import annotations

import sys

import msgspec

from posthorse.errors import PosthorseError
from posthorse.rules.registry import Registered

MAIN = "__main__"
MAIN_OF_A_CHILD = "__mp_main__"
"""What a script's module is called in a child, as in multiprocessing: its `if __name__ == "__main__":` is not met."""


class NotFound(PosthorseError):
    """A child could not find the code of a kind."""


class CodeLocation(msgspec.Struct, frozen=True):
    """One of: an application (`module:attribute`), the path of a script, or a module."""

    target: str | None = None
    script: str | None = None
    module: str = ""


def location_of(registered: Registered, target: str | None) -> CodeLocation:
    """Where a child finds this kind. Raises NotFound for code that has no name in another process."""
    if target is not None:
        return CodeLocation(target)
    function = registered.function
    if "<locals>" in function.__qualname__:
        raise NotFound(
            f"{registered.kind!r} is declared inside {function.__qualname__.partition('.<locals>')[0]!r}, where its "
            'isolation="process" cannot find it: a child process imports modules; declare it at the top of a module'
        )
    if function.__module__ != MAIN:
        return CodeLocation(module=function.__module__)
    main = sys.modules[MAIN]
    spec = getattr(main, "__spec__", None)
    if spec is not None:  # python -m package.module
        return CodeLocation(module=spec.name)
    script = getattr(main, "__file__", None)
    if script is None:
        raise NotFound(
            f"{registered.kind!r} was typed in and stands in no file, so no child process can import it for its "
            'isolation="process"; move it into a module'
        )
    return CodeLocation(script=script)


class _Import:
    is_under_way = False


def refuse_workers(while_importing: bool) -> None:
    """Says that a child imports what it is to run: workers that start meanwhile are a mistake of the module."""
    _Import.is_under_way = while_importing


def check_may_work() -> None:
    """Raises NotFound when a worker starts while a child imports its module."""
    if _Import.is_under_way:
        raise NotFound(
            "a worker starts while a child process imports the module that it is to run; put the worker under "
            'if __name__ == "__main__":'
        )
