"""New arguments for a job that is retried, checked against the signature of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from posthorse.app.verbs import Verb, look_up
from posthorse.errors import InvalidTransition
from posthorse.rules.arguments.signature import ArgumentsUnfit
from posthorse.rules.job import Options
from posthorse.store.operations import read
from posthorse.store.operations.one_job import why_missing

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse


def replaced(app: Posthorse, job_id: str, changes: Mapping[str, object]) -> Verb[str]:
    """Return the arguments of a job, some replaced, as they are stored.

    Raises JobNotFound, InvalidArgument, InvalidTransition, CodecError.
    """
    call = yield from look_up(app, read.call(job_id))
    if call is None:
        raise (yield from look_up(app, why_missing(job_id)))
    texts = app.registry.packing.of_stored(job_id, call.options)
    try:
        arguments = texts.unpack(call.arguments, "arguments")
        signature, place = app.registry[call.kind].signature, Options.decode(call.options).flow
        inputs = () if place is None or place.inputs is None else place.inputs.keys()
        return texts.pack(signature.replaced(arguments, changes, lacking=inputs), "arguments")
    except ArgumentsUnfit as error:
        raise InvalidTransition(
            f"job {job_id} keeps arguments that do not fit its kind any more ({error}); "
            "give all of them with retry_with()"
        ) from error


def rebound(app: Posthorse, job_id: str, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Verb[str]:
    """Return new arguments for a job, as they are stored.

    Raises JobNotFound, InvalidArgument, UnknownKind, CodecError.
    """
    call = yield from look_up(app, read.call(job_id))
    if call is None:
        raise (yield from look_up(app, why_missing(job_id)))
    arguments = app.registry[call.kind].signature.encode(args, kwargs)
    return app.registry.packing.of_stored(job_id, call.options).pack(arguments, "arguments")
