"""Other arguments for a job that is to be retried, checked against the signature of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from posthorse.app.reading import astatus_of, not_found, status_of
from posthorse.errors import InvalidTransition
from posthorse.rules.arguments.signature import ArgumentsUnfit
from posthorse.store.operations import read

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse


def replaced(app: Posthorse, job_id: str, changes: Mapping[str, object]) -> str:
    """The arguments of a job, some replaced, as JSON. Raises JobNotFound, InvalidArgument, InvalidTransition."""
    return _replaced(app, job_id, app.store.read(read.call(job_id)), changes)


async def areplaced(app: Posthorse, job_id: str, changes: Mapping[str, object]) -> str:
    """The same for a coroutine, which may be inside an asynchronous transaction."""
    return _replaced(app, job_id, await app.store.aread(read.call(job_id)), changes)


def rebound(app: Posthorse, job_id: str, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
    """New arguments for a job, as JSON. Raises JobNotFound, InvalidArgument, UnknownKind."""
    return app.registry[status_of(app, job_id).kind].signature.encode(args, kwargs)


async def arebound(app: Posthorse, job_id: str, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
    """The same for a coroutine, which may be inside an asynchronous transaction."""
    status = await astatus_of(app, job_id)
    return app.registry[status.kind].signature.encode(args, kwargs)


def _replaced(app: Posthorse, job_id: str, call: tuple[str, str] | None, changes: Mapping[str, object]) -> str:
    if call is None:
        raise not_found(job_id)
    kind, stored = call
    try:
        return app.registry[kind].signature.replaced(stored, changes)
    except ArgumentsUnfit as error:
        raise InvalidTransition(
            f"job {job_id} keeps arguments that do not fit its kind any more ({error}); "
            "give all of them with retry_with()"
        ) from error
