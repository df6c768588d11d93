"""Addresses of stores: what they name, how they look without their passwords, and the folder that a file needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from posthorse.clock import Clock
from posthorse.errors import InvalidSettings, StoreUnreachable
from posthorse.rules.values.misfit import short

if TYPE_CHECKING:
    from posthorse.store.postgres.backend import PostgresBackend
    from posthorse.store.sqlite.backend import SqliteBackend


def backend_of(url: str, schema: str, clock: Clock) -> SqliteBackend | PostgresBackend:
    """What keeps the store at an address; its library is imported here. Raises InvalidSettings."""
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        from posthorse.store.sqlite.backend import SqliteBackend

        return SqliteBackend(_file_of(rest[1:]), clock)
    if separator and scheme in ("postgresql", "postgres"):
        try:
            from posthorse.store.postgres.backend import PostgresBackend
        except ImportError as error:
            raise InvalidSettings(
                f"{scheme}:// needs psycopg ({error}); install it with `pip install 'posthorse[postgres]'`"
            ) from error
        return PostgresBackend(url, schema, clock)
    raise InvalidSettings(
        f"{short(url if scheme == 'sqlite' else shown(url))} is no address of a store; write "
        "sqlite:///folder/file.db (four slashes for an absolute path) or postgresql://user:password@host/database"
    )


def is_there(file: Path) -> bool:
    """True when there is such a file. Raises StoreUnreachable for a path that can lead nowhere."""
    try:
        return file.exists()
    except OSError as error:  # a name too long, a loop of links
        raise StoreUnreachable(
            f"there can be no store {short(str(file))}: {error.strerror}; check the address"
        ) from error


def make_folder(file: Path) -> None:
    """Makes the folder of a file where there is none. Raises StoreUnreachable."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnreachable(
            f"the folder {short(str(file.parent))} cannot be made for the store: {error.strerror}; check the address"
        ) from error


def _file_of(path: str) -> Path:
    """The file, whatever becomes the current folder later. Raises InvalidSettings."""
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
        raise InvalidSettings(f"the current folder, where {name} would lie, is gone: {error.strerror}") from error


def shown(url: str) -> str:
    """What names a store in messages, without its password."""
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite" and separator:
        return rest[1:]
    if not separator:
        return url
    before_options = rest.partition("?")[0]
    if "@" in rest and "@" not in before_options:
        return f"{scheme}://…"  # a `?` in a password, or an `@` in an option: either may give the password away
    credentials, at, host = before_options.rpartition("@")
    return f"{scheme}://{credentials.partition(':')[0]}{at}{host}"
