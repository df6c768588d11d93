"""Outputs: arguments that stand for the result of a job that has not run yet.

A call with outputs is stored without the parameters that they fill. The worker puts the results in before the job
starts. This module knows nothing of flows and stores: an output only knows what it is the output of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from posthorse.errors import InvalidCall


class Output:
    """Stands for the result of a job. It is passed as an argument, and nothing else can be done with it.

    source: what it is the output of, for the caller that made it. words: how messages name it.
    """

    __slots__ = ("source", "words")

    def __init__(self, source: object, words: str) -> None:
        self.source = source
        self.words = words

    def __repr__(self) -> str:
        return f"<{self.words}>"

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # asked by Python itself, as copy and inspect do
            raise AttributeError(name)
        raise self._unknown_yet()

    def __getitem__(self, key: object) -> object:
        raise self._unknown_yet()

    def __iter__(self) -> object:
        raise self._unknown_yet()

    def __len__(self) -> int:
        raise self._unknown_yet()

    def __bool__(self) -> bool:
        raise self._unknown_yet()

    def _unknown_yet(self) -> InvalidCall:
        return InvalidCall(
            f"the {self.words} is not known before the job has run, so it cannot be looked into here; pass it as an "
            "argument, and look into it there"
        )


Filling: TypeAlias = Output | Sequence[Output]
"""What fills one parameter: an output, or a list of outputs that become a list of results."""

NO_OUTPUTS: Mapping[str, Filling] = {}


def outputs_in(value: object) -> Filling | None:
    """Return the outputs that an argument consists of; None if it is none and no list of them."""
    if isinstance(value, Output):
        return value
    if not isinstance(value, list | tuple):
        return None
    items = cast("Sequence[object]", value)
    outputs = [item for item in items if isinstance(item, Output)]
    return outputs if outputs and len(outputs) == len(items) else None


def holds_outputs(values: Sequence[object]) -> bool:
    """Return whether one of these arguments consists of outputs, or is a list with one in it."""
    return any(
        isinstance(value, Output)
        or (isinstance(value, list | tuple) and any(isinstance(item, Output) for item in cast("list[object]", value)))
        for value in values
    )


PREVIOUS = Output("previous", "output of the call before it")
ENDED = Output("ended", "id of the job that ended")

previous = cast("Any", PREVIOUS)
"""In a chain: what the call before returned. In a callback for success: what the job returned."""

ended = cast("str", ENDED)
"""In a callback: the id of the job that ended."""
