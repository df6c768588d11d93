"""Where settings come from: keyword arguments, then the environment, then `posthorse.toml`."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from posthorse.errors import InvalidSettings
from posthorse.rules.settings import Settings, make_settings

PREFIX = "POSTHORSE_"
FILE = "posthorse.toml"
# Read by the command line and by tests, not settings of an application.
NOT_SETTINGS = frozenset({"app", "failpoint", "config"})


def load_settings(given: Mapping[str, object]) -> Settings:
    """Settings from what was given, the environment and the file, in this order. Raises InvalidSettings."""
    return make_settings({**_from_file(), **_from_environment(os.environ), **given})


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    named = {name.removeprefix(PREFIX).lower(): value for name, value in environment.items() if name.startswith(PREFIX)}
    return {
        name: int(value) if name == "max_interruptions" and value.isdigit() else value
        for name, value in named.items()
        if name not in NOT_SETTINGS
    }


def _from_file() -> dict[str, object]:
    path = Path(os.environ.get("POSTHORSE_CONFIG", FILE))
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if "POSTHORSE_CONFIG" in os.environ:
            raise InvalidSettings(f"POSTHORSE_CONFIG names {path}, which does not exist") from None
        return {}
    except OSError as error:
        raise InvalidSettings(f"{path} cannot be read: {error}") from error
    try:
        return cast("dict[str, object]", tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings(f"{path} is no valid TOML: {error}") from error
