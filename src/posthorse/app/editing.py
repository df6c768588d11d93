"""Other arguments for a job that is to be retried, checked against the signature of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from posthorse.app.reading import not_found, status_of
from posthorse.errors import NotAllowed
from posthorse.rules.arguments.signature import ArgumentsUnfit, Signature
from posthorse.store.operations import read

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse


def replaced(app: Posthorse, job_id: str, changes: Mapping[str, object]) -> str:
    """The arguments of a job, some of them replaced, as JSON. Raises JobNotFound, InvalidArgument, NotAllowed."""
    signature = _signature(app, job_id)
    stored = app.store.read(read.arguments(job_id))
    if stored is None:
        raise not_found(job_id)
    try:
        return signature.replaced(stored, changes)
    except ArgumentsUnfit as error:
        raise NotAllowed(
            f"job {job_id} keeps arguments that do not fit its kind any more ({error}); "
            "give all of them with retry_with()"
        ) from error


def rebound(app: Posthorse, job_id: str, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
    """New arguments for a job, as JSON. Raises JobNotFound, InvalidArgument, UnknownKind."""
    return _signature(app, job_id).encode(args, kwargs)


def _signature(app: Posthorse, job_id: str) -> Signature:
    return app.registry[status_of(app, job_id).kind].signature
