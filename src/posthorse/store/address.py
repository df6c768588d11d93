"""Addresses of stores: what they name, how they are shown without passwords, and the folder of a file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from posthorse.clock import Clock
from posthorse.errors import InvalidSettings, StoreUnreachable
from posthorse.rules.tuning import Tuning
from posthorse.rules.values.type_mismatch import short

UNREADABLE = (
    "the address of the PostgreSQL store cannot be read; write postgresql://user:password@host:port/database, with "
    "%40 for an @, %2F for a / and %25 for a % inside the password"
)

if TYPE_CHECKING:
    from posthorse.store.backend import Backend


def backend_of(url: str, schema: str, clock: Clock, tuning: Tuning, *, timeout: float | None = None) -> Backend:
    """Return the backend for an address; its library is imported here. Raises InvalidSettings."""
    scheme, separator, rest = url.partition("://")
    open_backend = BACKENDS.get(scheme) if separator else None
    if open_backend is None:
        raise InvalidSettings(_not_an_address(url))
    backend = open_backend(url, rest, schema, clock, tuning)
    if timeout is not None:
        backend.wait_at_most(timeout)
    return backend


def _open_sqlite(url: str, rest: str, schema: str, clock: Clock, tuning: Tuning) -> Backend:
    if not rest.startswith("/") or len(rest) == 1:
        raise InvalidSettings(_not_an_address(url))
    from posthorse.store.sqlite.backend import SqliteBackend

    return SqliteBackend(_file_of(rest[1:]), clock, tuning)


def _open_postgres(url: str, rest: str, schema: str, clock: Clock, tuning: Tuning) -> Backend:
    _check_parts(rest)
    try:
        from posthorse.store.postgres.backend import PostgresBackend
    except ImportError as error:
        scheme = url.partition("://")[0]
        raise InvalidSettings(
            f"{scheme}:// needs psycopg ({error}); install it with `pip install 'posthorse[postgres]'`"
        ) from error
    return PostgresBackend(url, schema, clock, tuning)


BACKENDS: dict[str, Callable[[str, str, str, Clock, Tuning], Backend]] = {
    "sqlite": _open_sqlite,
    "postgresql": _open_postgres,
    "postgres": _open_postgres,
}
"""How to open a store, by the scheme of its address. Called with the address, its part after the scheme, the schema and
the clock.
"""


def is_there(file: Path) -> bool:
    """Return whether the file exists. Raises StoreUnreachable for a path that cannot lead to one."""
    try:
        return file.exists()
    except PermissionError as error:
        raise StoreUnreachable(
            f"cannot look for the store {short(str(file))}: {error.strerror}; check that its folders may be entered by "
            "this account, and that its own folder is writable"
        ) from error
    except OSError as error:  # a name that is too long, a loop of links
        raise StoreUnreachable(
            f"there can be no store {short(str(file))}: {error.strerror}; check the address"
        ) from error


def make_folder(file: Path) -> None:
    """Make the folder of a file if it is missing. Raises StoreUnreachable."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnreachable(
            f"the folder {short(str(file.parent))} cannot be made for the store: {error.strerror}; check the address"
        ) from error


def _not_an_address(url: str) -> str:
    """Explain why an address leads to no store; repeat the address only if it cannot contain a password."""
    scheme = url.partition("://")[0]
    what = "what was given"
    if re.fullmatch(r"[\w./\\~ -]{1,200}", url) or (scheme == "sqlite" and "@" not in url):
        what = short(url)
    elif scheme != url and re.fullmatch(r"[a-z][a-z0-9]{0,20}(\+[a-z0-9]{1,20})?", scheme):
        what = f"{scheme}://… (its rest may hold a password)"
    return (
        f"{what} is not the address of a store; write sqlite:///folder/file.db (four slashes for an absolute path) or "
        "postgresql://user:password@host/database, without the name of a driver"
    )


def _check_parts(rest: str) -> None:
    """Refuse what libpq would misread, because its messages would then show a part of the password."""
    before_slash = rest.partition("/")[0]
    place = (rest.partition("@")[2] if "@" in before_slash else rest).partition("?")[0]
    servers = re.sub(r"\[[^]]*\]", "", place.partition("/")[0]).split(",")
    if "@" in place or not all(re.fullmatch("[0-9]*", server.partition(":")[2]) for server in servers):
        raise InvalidSettings(UNREADABLE)


def _file_of(path: str) -> Path:
    """Return the absolute path, so that a later change of folder does not matter. Raises InvalidSettings."""
    name = short(path)
    if ":memory:" in path or path.startswith("file:"):
        raise InvalidSettings(
            f"sqlite:///{name[1:-1]} names no file on a disk: it would be lost with its process, and workers could not "
            "see it; write sqlite:///folder/file.db"
        )
    if "\0" in path:
        raise InvalidSettings(f"the path of the store, {name}, holds a NUL, which no path has")
    if "?" in path:
        raise InvalidSettings(f"the path of the store, {name}, holds a `?`; an address of SQLite takes no options")
    try:
        return Path(path).absolute()
    except OSError as error:
        raise InvalidSettings(f"the current folder, where {name} would be, is gone: {error.strerror}") from error


def is_same_store(one: str, other: str) -> bool:
    """Return whether two addresses name the same store, as far as they show; users and options are not compared."""
    return _named_by(one) == _named_by(other)


def _named_by(url: str) -> tuple[str, ...]:
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        return scheme, os.path.realpath(rest[1:])
    place, _, options = rest.partition("?")
    servers, _, database = place.rpartition("@")[2].partition("/")
    chosen = sorted(one for one in options.split("&") if one.partition("=")[0] in ("host", "port", "dbname", "service"))
    return "postgresql", servers.removesuffix(":5432").replace("127.0.0.1", "localhost"), database, *chosen


def shown(url: str) -> str:
    """Return the store's name for messages, without its password."""
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite" and separator:
        return rest[1:]
    if not separator:
        return "…"
    before_options = rest.partition("?")[0]
    if "@" in rest and "@" not in before_options:
        return f"{scheme}://…"  # with a `?` in a password or an `@` in an option, either part may contain the password
    credentials, at, host = before_options.rpartition("@")
    return f"{scheme}://{credentials.partition(':')[0]}{at}{host}"
