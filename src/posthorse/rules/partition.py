"""What a limit is kept apart by, for one job: its tenant, an argument, or what a function of them says. Pure."""

from __future__ import annotations

from collections.abc import Callable

from posthorse.rules.arguments.signature import ArgumentsUnfit, Signature
from posthorse.rules.gates import gate_name
from posthorse.rules.limits import Per

NOTHING = object()
"""A job has no such argument, or none that this code can read."""

UNTOLD = ("?",)
"""What jobs have in common whose value cannot be told; no text equals it."""


def value_of(
    per: Per, signature: Signature, arguments: str, tenant: str, *, failed: Callable[[Exception], None] = lambda _: None
) -> object:
    """The value; `failed` hears of what the user's code raised."""
    if per == "tenant":
        return tenant
    try:
        if isinstance(per, str):
            value = signature.named(arguments).get(per, NOTHING)
        else:
            args, kwargs = signature.decode(arguments)
            value = per(*args, **kwargs)
        if value is not NOTHING:
            gate_name(value)  # raises where it is nothing that a gate can be told by
    except ArgumentsUnfit:
        return NOTHING  # it will not run either: whoever claims it tells why
    except Exception as error:  # the user's code may raise anything
        failed(error)
        return UNTOLD
    return value
