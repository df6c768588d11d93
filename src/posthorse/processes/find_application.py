"""Find the application that has a kind, in a child: import the code location, then search the loaded modules."""

from __future__ import annotations

import importlib
import runpy
import sys
import traceback
from collections.abc import Iterator
from types import ModuleType

from posthorse.app.client import Posthorse
from posthorse.app.loading import load_application
from posthorse.errors import PosthorseError
from posthorse.worker.base.loggers import keep_loggers
from posthorse.worker.isolation.code_location import MAIN, MAIN_OF_A_CHILD, CodeLocation, NotFound, refuse_workers


def find_application(location: CodeLocation, kind: str) -> Posthorse:
    """Return the application that has the kind. Raises NotFound, InvalidSettings."""
    if location.target is not None:
        app = load_application(location.target)
        if kind in app.registry:
            return app
        raise NotFound(f"{location.target} has no kind {kind!r} in a child process, as its runner has")
    refuse_workers(True)
    try:
        module = (
            _run_script(location.script) if location.script is not None else importlib.import_module(location.module)
        )
    except PosthorseError:
        raise
    except (Exception, SystemExit) as error:  # a module may do anything while it is imported
        what = "".join(traceback.format_exception_only(error)).strip()
        raise NotFound(f"{location.script or location.module} cannot be imported by a child process: {what}") from error
    finally:
        refuse_workers(False)
        keep_loggers()
    for app in _applications(module):
        if kind in app.registry:
            return app
    raise NotFound(
        f"a child process imported {location.script or location.module} and found no application that has the kind "
        f"{kind!r} in any module; keep the application in a module's variable"
    )


def _applications(module: ModuleType) -> Iterator[Posthorse]:
    """Yield the applications of the module, then those of all other modules."""
    for candidate in (module, *list(sys.modules.values())):
        for value in list(vars(candidate).values()):
            if isinstance(value, Posthorse):
                yield value


def _run_script(path: str) -> ModuleType:
    module = ModuleType(MAIN_OF_A_CHILD)
    vars(module).update(runpy.run_path(path, run_name=MAIN_OF_A_CHILD))
    sys.modules[MAIN] = sys.modules[MAIN_OF_A_CHILD] = module
    return module
