"""The settings of an application: one frozen object, validated as a whole. Where they come from is not known here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import cast

import msgspec

from posthorse.errors import InvalidOption, InvalidSettings
from posthorse.rules.durations import Duration
from posthorse.rules.options.option import OptionPlace
from posthorse.rules.options.table import options_at
from posthorse.rules.retention import Keep
from posthorse.rules.values.type_mismatch import short

MIN_LEASE = 3.0
MAX_INTERRUPTIONS = 1_000_000
DEFAULT_URL = "sqlite:///posthorse.db"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of an application. Durations are kept in seconds."""

    url: str = DEFAULT_URL
    schema: str = "posthorse"
    lease: float = 30.0
    """How long a runner may be silent before other runners take its jobs."""
    heartbeat: float = 10.0
    """How often a runner's lease is renewed; at most half the lease."""
    stall: float = 600.0
    """How long a job may block a runner's loop before the runner is replaced."""
    grace: float = 30.0
    """How long a stopping worker waits for jobs that have no checkpoint."""
    poll: float = 1.0
    """How often an idle runner looks for jobs without a wake."""
    store_timeout: float | None = None
    """How long a call waits for a store that does not respond; None: 30 s, or 5 s inside a running event loop."""
    keep: Keep = Keep()
    """How long jobs stay whose kind and queue say nothing; what this does not say is in `DEFAULT_KEEP`."""
    keep_events: float = 86_400.0
    """How long events are kept that are written while something watches."""
    release: str | None = None
    """The release of the application that this process runs; None if nothing names it."""
    tenant_figures: bool = False
    """Whether figures are counted for each tenant, too."""
    logs: bool = True
    """Whether what jobs log is stored, for kinds that do not say that themselves."""
    log_level: int = 20
    """From which level on; as numbers of `logging`."""
    capture_print: bool = False
    """Whether what jobs print is stored, too."""
    inherit_metadata: bool = False
    """Whether jobs that a job enqueues get its metadata, under their own."""
    max_interruptions: int = 10
    """How many workers a job may lose in a row, without a committed slice, before it fails for good."""

    def __repr__(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name != "url")
        return f"Settings(url=…, {', '.join(shown)})"  # the address may contain a password


_OPTIONS = options_at(OptionPlace.SETTING)


def make_settings(values: Mapping[str, object]) -> Settings:
    """Make settings from named values. Raises InvalidSettings, which names the nearest name."""
    for key in values:
        if key not in _OPTIONS:
            words = (*_OPTIONS, "queues")  # `queues` is read elsewhere
            near = difflib.get_close_matches(key, words, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(words)}"
            raise InvalidSettings(f"there is no setting {short(key)}{hint}")
    converted = {key: _checked(key, value) for key, value in values.items()}
    if "lease" in converted and "heartbeat" not in converted:
        converted["heartbeat"] = min(Settings().heartbeat, cast("float", converted["lease"]) / 3)
    settings = Settings(**converted)  # type: ignore[arg-type]  # each checked by its name
    if settings.lease < MIN_LEASE:
        raise InvalidSettings(f"lease is {settings.lease:g} s; it must be at least {MIN_LEASE:g} s")
    if settings.heartbeat * 2 > settings.lease:
        raise InvalidSettings(
            f"heartbeat is {settings.heartbeat:g} s and lease {settings.lease:g} s; a lease must hold two heartbeats "
            "or a single late one would lose jobs"
        )
    if min(settings.poll, settings.heartbeat, settings.stall) <= 0:
        raise InvalidSettings("poll, heartbeat and stall must be longer than zero")
    if not 1 <= settings.max_interruptions <= MAX_INTERRUPTIONS:
        raise InvalidSettings(
            f"max_interruptions is {short(settings.max_interruptions)}; it must be at least 1, or no lost worker would "
            f"be survived, and {MAX_INTERRUPTIONS:,} at most"
        )
    return settings


def _checked(key: str, value: object) -> object:
    try:
        return _OPTIONS[key].check(value)
    except InvalidOption as error:
        raise InvalidSettings(f"a setting cannot be used: {error}") from None


__all__ = ["DEFAULT_URL", "Duration", "Settings", "make_settings"]
