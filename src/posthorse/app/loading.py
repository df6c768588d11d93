"""Find and import the application that a command or a worker process serves.

This module knows where an application may be named and how user code can fail at import. It knows nothing of terminals.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
import tomllib
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import cast

from posthorse.app.client import Posthorse
from posthorse.errors import InvalidSettings
from posthorse.worker.base.loggers import keep_loggers

DEFAULT_ATTRIBUTE = "app"
VARIABLE = "POSTHORSE_APP"
PROJECT_FILE = "pyproject.toml"
MAY_HOLD_A_PASSWORD = re.compile(r"://|\S@\S|passw", re.IGNORECASE)
"""Lines of the user's code that messages do not repeat, because they are logged, and errors are sent elsewhere."""


def load_application(target: str) -> Posthorse:
    """Import `module:attribute`; the attribute is `app` by default. Modules are also found in the current folder.

    Raises InvalidSettings, which shows the user's own line if the user's code failed.
    """
    name, path = _parsed(target)
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = _imported(name, target)
    found: object = module
    for step in path:
        try:
            found = getattr(found, step)
        except AttributeError:
            raise InvalidSettings(_no_attribute(target, name, found, step)) from None
    if not isinstance(found, Posthorse):
        kind = f"the class {found.__name__}" if isinstance(found, type) else f"of the type {type(found).__name__}"
        advice = _advice(module, name, "make one with ph.Posthorse()")
        raise InvalidSettings(f"{target} is {kind}, and no application of Posthorse; {advice}")
    return found


def find_target() -> tuple[str, str] | None:
    """Return the application that the environment names, and where: POSTHORSE_APP, then pyproject.toml here."""
    if target := os.environ.get(VARIABLE):
        return target, VARIABLE
    try:
        if not Path(PROJECT_FILE).is_file():  # opening a pipe would wait for a writer
            return None
        text = Path(PROJECT_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    if "posthorse" not in text:
        return None
    try:
        project = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also for a number with more digits than Python reads
        raise InvalidSettings(f"{PROJECT_FILE} is not valid TOML: {error}") from error
    return _target_of(project)


def _target_of(project: dict[str, object]) -> tuple[str, str] | None:
    tools = project.get("tool")
    table = cast("dict[str, object]", tools).get("posthorse") if isinstance(tools, dict) else None
    if table is None:
        return None
    place = f"[tool.posthorse] in {PROJECT_FILE}"
    settings = cast("dict[str, object]", table) if isinstance(table, dict) else {}
    for key in settings:
        if key != DEFAULT_ATTRIBUTE:
            raise InvalidSettings(
                f'{place} has {key!r}, and may only say app = "module:app"; settings belong in posthorse.toml'
            )
    target = settings.get(DEFAULT_ATTRIBUTE)
    if not isinstance(target, str) or not target:
        raise InvalidSettings(f'{place} names no application; write app = "module:app"')
    return target, place


def _parsed(target: str) -> tuple[str, Sequence[str]]:
    name, separator, attribute = target.strip().partition(":")
    path = (attribute if separator else DEFAULT_ATTRIBUTE).split(".")
    file = Path(name)
    is_file = file.suffix == ".py" and file.is_file()
    if all(part.isidentifier() for part in [*name.split("."), *path]) and not is_file:
        return name, path
    if file.suffix == ".py":
        module = ".".join(file.with_suffix("").parts).lstrip("./")
        raise InvalidSettings(f"{target!r} is a file; name its module: {module}:{'.'.join(path)}")
    raise InvalidSettings(f"{target!r} names no application; write module:app, such as shop.jobs:app")


def _imported(name: str, target: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise InvalidSettings(_no_module(error.name, target)) from None
        raise InvalidSettings(_failed(error, target)) from error
    except (Exception, SystemExit) as error:  # a module may raise anything while it is imported
        raise InvalidSettings(_failed(error, target)) from error
    finally:
        keep_loggers()


def _no_module(missing: str, target: str) -> str:
    parent, _, last = missing.rpartition(".")
    folder = Path(*parent.split(".")) if parent else Path()
    try:
        known = {path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    except OSError:
        known = set[str]()
    near = difflib.get_close_matches(last, known, n=1)
    start = f"there is no module {missing!r}, as {target} says, in {Path.cwd()} or on the path of Python"
    if near:
        return f"{start}; did you mean {parent + '.' if parent else ''}{near[0]}?"
    return f"{start}; run from the folder that holds it, or install it"


def _no_attribute(target: str, name: str, holder: object, step: str) -> str:
    if isinstance(holder, ModuleType):
        near = difflib.get_close_matches(step, vars(holder), n=1)
        fallback = f"did you mean {name}:{near[0]}?" if near else "write module:attribute"
        return f"the module {name} has no {step!r}; {_advice(holder, name, fallback)}"
    return f"{target} does not lead to an application: {type(holder).__name__} has no {step!r}"


def _advice(module: ModuleType, name: str, fallback: str) -> str:
    """Suggest the applications that the module has."""
    found = [f"{name}:{key}" for key, value in vars(module).items() if isinstance(value, Posthorse)]
    return f"it has {' and '.join(found)}" if found else fallback


def _failed(error: BaseException, target: str) -> str:
    if isinstance(error, SystemExit):
        what = f"it ended the process (SystemExit: {error.code})"
    else:
        said = "".join(traceback.format_exception_only(error)).strip().splitlines()
        what = said[-1] if isinstance(error, SyntaxError) else said[0]  # before the first come file, line and a caret
    return f"{target} cannot be imported: {what}{_place(error)}"


def _place(error: BaseException) -> str:
    """Return the line of the user's code that failed."""
    if isinstance(error, SyntaxError):
        return _shown(error.filename, error.lineno, error.text)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    return _shown(frames[-1].filename, frames[-1].lineno, frames[-1].line) if frames else ""


def _is_users(filename: str) -> bool:
    path = Path(filename)
    return path.is_relative_to(Path.cwd()) and "site-packages" not in path.parts


def _shown(filename: str | None, number: int | None, line: str | None) -> str:
    if filename is None:
        return ""
    text = (line or "").strip()
    told = "…" if MAY_HOLD_A_PASSWORD.search(text) else text
    return f"\n  {os.path.relpath(filename)}, line {number}: {told}"
