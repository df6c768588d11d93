"""Where an application's store is named, and what to report if one of its processes uses another store."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from posthorse.store.address import is_same_store, shown

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

VARIABLE = "POSTHORSE_URL"


class Origin(NamedTuple):
    """The address that an application has by itself, before `--url` of a command changes it."""

    url: str
    is_named: bool
    """False for the default: neither code nor environment nor a file names a store."""
    is_in_code: bool
    overruled: str | None = None
    """The address in POSTHORSE_URL, if the code names another store, which wins."""

    def __repr__(self) -> str:
        return f"Origin(url=…, is_named={self.is_named}, is_in_code={self.is_in_code})"  # it may contain a password


class Apart(NamedTuple):
    """Two stores that may be mistaken for one: what was found, and what to do."""

    finding: str
    advice: str


def lead_to(app: Posthorse, url: str) -> None:
    """Use another store in this process, as `--url` does; the application's other processes keep their own."""
    own = app.origin
    app.use_url(url)
    app.origin = own


def apart(app: Posthorse) -> Apart | None:
    """Compare the store that this process works with, the application's own, and that of POSTHORSE_URL."""
    origin, at_work = app.origin, app.settings.url
    own = shown(origin.url)
    if not is_same_store(at_work, origin.url):
        default = "" if origin.is_named else ", the default, because nothing names another"
        advice = f"set {VARIABLE} for all processes of the application, in place of --url"
        if origin.is_in_code:
            advice = f"change the address in the code, or leave it out there and set {VARIABLE} in place of --url"
        return Apart(
            f"--url leads to {shown(at_work)}, but the application's own store is {own}{default}: jobs that it "
            "enqueues from other processes are stored there",
            advice,
        )
    if origin.overruled is not None and not is_same_store(origin.overruled, origin.url):
        return Apart(
            f"{VARIABLE} names {shown(origin.overruled)}, but the application's code names {own}, which counts; "
            "commands without --app look into the other",
            f"leave the address out of the code, or unset {VARIABLE}",
        )
    return None
