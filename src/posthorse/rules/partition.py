"""The partition key of a limit, for one job: its tenant, an argument, or the result of a function of them. Pure."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UNSET

from posthorse.rules.arguments.signature import ArgumentsUnfit, Signature
from posthorse.rules.gates import gate_name
from posthorse.rules.limits import Per

NOTHING = object()
"""The job has no such argument, or none that this code can read."""

UNTOLD = ("?",)
"""Shared by all jobs whose value is unknown; it equals no text."""


def value_of(
    per: Per, signature: Signature, arguments: str, tenant: str, *, failed: Callable[[Exception], None] = lambda _: None
) -> object:
    """Return the value; call `failed` with what the user's code raised."""
    if per == "tenant":
        return tenant
    try:
        if isinstance(per, str):
            value = signature.named(arguments).get(per, NOTHING)
        else:
            args, kwargs = signature.decode(arguments)
            value = per(*args, **kwargs)
        if value is not NOTHING:
            gate_name(value)  # raises if the value cannot be part of a gate's name
    except ArgumentsUnfit:
        # It will not run either, and the worker that claims it reports why, unless outputs of other jobs fill the rest.
        alone = signature.stored_argument(arguments, per) if isinstance(per, str) else UNSET
        return NOTHING if alone is UNSET else alone
    except Exception as error:  # the user's code may raise anything
        failed(error)
        return UNTOLD
    return value
