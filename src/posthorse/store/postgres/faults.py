"""Errors of PostgreSQL: which operation caused them, whether they pass, and how they are explained."""

from __future__ import annotations

import re

import psycopg
from psycopg import errors as pg_errors
from psycopg.errors import Diagnostic

from posthorse.errors import OutcomeUnknown, StoreError, StoreUnreachable
from posthorse.store.operations.ends import LeaseRace

CONNECTION_ENDS = (
    pg_errors.AdminShutdown,
    pg_errors.CrashShutdown,
    pg_errors.CannotConnectNow,
    pg_errors.ConnectionException,
    pg_errors.IdleInTransactionSessionTimeout,
    psycopg.InterfaceError,
)


class OperationFailed(Exception):
    """One operation of a group failed."""

    def __init__(self, position: int, error: Exception) -> None:
        super().__init__(position, error)
        self.position = position
        self.error = error


class ConnectionLost(Exception):
    """A connection could not be opened, or broke; what was sent over it may have been committed."""

    def __init__(self, error: Exception, *, was_sent: bool) -> None:
        super().__init__(error)
        self.error = error
        self.was_sent = was_sent


class Unreplicated(Exception):
    """Committed here, but the wait for a synchronous standby was cut short."""


def is_cut_short(notice: Diagnostic) -> bool:
    """Return True for the warning that the server stopped waiting for its synchronous standby, in any language."""
    return notice.source_function == "SyncRepWaitForLSN"


def unreplicated() -> OutcomeUnknown:
    return OutcomeUnknown(
        "PostgreSQL committed, but its wait for a synchronous standby was cancelled, so a failover may lose that; "
        "ask again with the same id or key, which finds what was written"
    )


def raise_unless_utf8(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Raise StoreError for a database that cannot hold every text: arguments and results are in all languages."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        name = connection.info.dbname
        raise StoreError(
            f"the database {name!r} has the encoding {encoding}, which cannot hold every text that a job may have; "
            "make one with UTF-8 (CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0), and name that in the address"
        )


def raise_if_gone(error: BaseException, *, is_broken: bool) -> None:
    """Raise StoreUnreachable for an error of a connection that ended during a transaction."""
    if isinstance(error, psycopg.Error) and (is_broken or isinstance(error, CONNECTION_ENDS)):
        raise away(error) from error


def is_collision(error: Exception) -> bool:
    """Return True for errors that may not recur when the transaction runs again."""
    return isinstance(error, LeaseRace | pg_errors.DeadlockDetected | pg_errors.SerializationFailure)


def is_read_only(error: Exception) -> bool:
    """Return True if the server accepts no writes: in a transaction, or when one begins during recovery."""
    if isinstance(error, pg_errors.FeatureNotSupported):
        return error.diag.source_function == "call_bool_check_hook"  # the hook of transaction_read_only
    return isinstance(error, pg_errors.ReadOnlySqlTransaction)


def is_there_already(error: Exception) -> bool:
    """Return True if an earlier commit whose reply was lost wrote the job to insert, perhaps just now."""
    return isinstance(error, pg_errors.UniqueViolation) and error.diag.table_name == "jobs"


def cannot_heal(error: Exception) -> bool:
    """Return True if retrying will change nothing: each host refused for good.

    There are no codes for errors of connecting, only texts. Texts of a server in another language than English are not
    recognised, and callers wait as for one that is away.
    """
    if not isinstance(error, StoreUnreachable):
        return False
    by_host: dict[str, list[str]] = {}
    for attempt in _ATTEMPT.finditer(str(error)):  # a host may have several addresses
        by_host.setdefault(attempt[1], []).append(attempt[2])
    attempts = list(by_host.values()) or [[str(error)]]
    return all(any(map(_REFUSED.search, each)) or all(map(_IMPOSSIBLE.search, each)) for each in attempts)


_ATTEMPT = re.compile(r"^- host: (.+?, port: .+?), hostaddr: .+?: (.*)$", re.MULTILINE)
_REFUSED = re.compile(
    r"password authentication failed|authentication failed for user|no password supplied"
    r"|(?:role|database|user) \S.* does not exist|no such (?:user|database)|is not permitted to log in"
    r"|no pg_hba\.conf entry|pg_hba\.conf rejects|permission denied for database"
    r"|is not currently accepting connections|server does not support SSL|certificate verify failed"
    r"|unrecognized configuration parameter|invalid value for parameter|unsupported startup parameter",
    re.IGNORECASE,
)
"""Messages of a running server."""

_IMPOSSIBLE = re.compile(
    r"address family (?:for hostname )?not supported|certificate (?:file )?\"[^\"]*\" does not exist", re.IGNORECASE
)
"""Errors that keep this machine from connecting."""


def unreachable(error: psycopg.Error) -> StoreUnreachable:
    return StoreUnreachable(f"PostgreSQL cannot be reached: {str(error).strip()}")


def away(error: Exception) -> StoreError:
    return error if isinstance(error, StoreUnreachable) else StoreUnreachable(f"PostgreSQL went away: {text_of(error)}")


def in_doubt(error: Exception) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"PostgreSQL went away before it confirmed a commit ({text_of(error)}), so it is unknown whether it happened; "
        "ask again with the same id or key, which finds what was written"
    )


def text_of(error: Exception) -> str:
    return " ".join(str(error).split())


def explained(error: Exception) -> Exception:
    if isinstance(error, pg_errors.UndefinedTable | pg_errors.InvalidSchemaName):
        return StoreError(f"the schema of Posthorse is missing ({str(error).splitlines()[0]}); run `posthorse migrate`")
    if isinstance(error, LeaseRace):
        return StoreError(
            "a lease kept ending without its job, or stands without one: the store was changed by hand or is damaged; "
            "run `posthorse doctor`"
        )
    if is_read_only(error):
        return StoreError(
            f"this PostgreSQL server is read-only, as a standby is ({text_of(error)}), and nothing was written; let "
            "the address name the primary, or several hosts with target_session_attrs=read-write"
        )
    if isinstance(error, psycopg.Error):
        return StoreError(f"PostgreSQL refused, and nothing was written: {text_of(error)}")
    return error
