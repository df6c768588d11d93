"""Read settings: keyword arguments first, then the environment, then `posthorse.toml` or `posthorse.yaml`."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from posthorse.app.store_origin import Origin
from posthorse.errors import InvalidOption, InvalidSettings
from posthorse.rules.queues import Layer, checked_layers
from posthorse.rules.settings import Settings, make_settings

PREFIX = "POSTHORSE_"
FILES = ("posthorse.toml", "posthorse.yaml", "posthorse.yml")
# Read by the command line and by tests; not settings of an application.
NOT_SETTINGS = frozenset({"app", "failpoint", "config"})
MAX_FILE = 1_000_000
DEEPEST = 20


class Configuration(NamedTuple):
    """The settings of an application, the queues that its file declares, and where its store was named."""

    settings: Settings
    queues: Mapping[str, Layer]
    origin: Origin


def load(given: Mapping[str, object]) -> Configuration:
    """Read the configuration: what was given, then the environment, then the file. Raises InvalidSettings."""
    environment = _from_environment(os.environ)
    values = {**_from_file(), **environment, **given}
    queues = values.pop("queues", {})
    try:
        layers = checked_layers(queues)
    except InvalidOption as error:
        raise InvalidSettings(f"the configuration cannot be used: {error}") from None
    settings = make_settings(values)
    in_code, variable = given.get("url"), environment.get("url")
    overruled = variable if in_code is not None and isinstance(variable, str) else None
    origin = Origin(settings.url, is_named="url" in values, is_in_code=in_code is not None, overruled=overruled)
    return Configuration(settings, layers, origin)


def exposed_file() -> Path | None:
    """Return the file of settings if it contains a password and every account of this machine may read it."""
    path = _file()
    url = str(_from_file().get("url"))
    holds_password = re.search(r"://[^/@:]*:[^@]+@|[?&]password=", url) is not None
    return path if path is not None and holds_password and path.stat().st_mode & stat.S_IROTH else None


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    named = {name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name.startswith(PREFIX)}
    return {name: _READ_AS.get(name, str)(value) for name, value in named.items() if name not in NOT_SETTINGS}


def _whole(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text  # refused later, with all the others


def _flag(text: str) -> bool | str:
    return {"true": True, "false": False}.get(text.strip().lower(), text)  # the rest is refused later


_READ_AS: Mapping[str, Callable[[str], object]] = {
    "max_interruptions": _whole,
    "tenant_figures": _flag,
    "inherit_metadata": _flag,
}
"""settings that are not texts, and how they are read from the environment."""


def _from_file() -> dict[str, object]:
    path = _file()
    if path is None:
        return {}
    try:
        if stat.S_ISFIFO(path.stat().st_mode):  # opening one waits for a writer
            raise InvalidSettings(f"{path} is a pipe and not a file; write the settings into a file")
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)  # limited, because it may be a device without an end
        if len(content) > MAX_FILE:
            raise InvalidSettings(f"{path} is larger than a megabyte, so it can be no configuration")
        text = content.decode()
    except FileNotFoundError:
        raise InvalidSettings(f"POSTHORSE_CONFIG names {path}, which does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is not UTF-8 text ({error.reason})"
        raise InvalidSettings(f"{path} cannot be read: {reason}") from error
    return _from_yaml(path, text) if path.suffix in (".yaml", ".yml") else _from_toml(path, text)


def _file() -> Path | None:
    named = os.environ.get("POSTHORSE_CONFIG")
    if named:
        return Path(named)
    found = [name for name in FILES if Path(name).exists()]
    if len(found) > 1:
        raise InvalidSettings(f"there are {' and '.join(found)}, and only one of them can count; keep one")
    return Path(found[0]) if found else None


def _from_toml(path: Path, text: str) -> dict[str, object]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also for a number with more digits than Python reads
        raise InvalidSettings(f"{path} is not valid TOML: {error}") from error


def _from_yaml(path: Path, text: str) -> dict[str, object]:
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
        from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
    except ImportError as error:
        raise InvalidSettings(
            f"{path} is YAML, and that needs ruamel.yaml ({error}); install it with "
            "`pip install 'posthorse[yaml]'`, or write posthorse.toml"
        ) from error
    try:
        reader: Any = YAML(typ="safe", pure=True)
        depth = 0
        for event in reader.parse(text):
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            # Aliases and deep nesting let a small file keep a YAML reader busy for hours.
            if isinstance(event, AliasEvent):
                raise InvalidSettings(f"{path} has an alias (*name); write out what it stands for")
            if depth > DEEPEST:
                raise InvalidSettings(f"{path} is not valid YAML for settings: it nests deeper than {DEEPEST} times")
        found: object = reader.load(text)
    except InvalidSettings:
        raise
    except (YAMLError, RecursionError, ValueError) as error:
        raise InvalidSettings(f"{path} is not valid YAML: {_problem(error)}") from error
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in cast("dict[object, object]", found)):
        raise InvalidSettings(f"{path} holds no settings; write `name: value`, one a line")
    return cast("dict[str, object]", found)


def _problem(error: Exception) -> str:
    """Return the error of a YAML reader in one line."""
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if problem is None or mark is None:
        return str(error)
    return f"{problem} (at line {mark.line + 1}, column {mark.column + 1})"
