"""What the options of a job say of the flow that it is, or that it is a step of. Stored with the job."""

from __future__ import annotations

import msgspec

ITEMS = "items"
"""The parameter of a job that spreads a list: the list."""


OF_ITEMS = "[]"
"""How the kind of a job ends that stands for the jobs of the items of a list."""


class InFlow(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a job is in a flow.

    id: the flow that it is a step of. step: its name there. inputs: by the names of parameters that its stored call
    leaves out, the job whose result fills them, or a list of jobs. is_flow: whether it is a flow itself, without code.
    result: of a flow, the job whose result is its own. gathers: whether its result is the list of its children's.
    spreads: of the job that makes a job for each item of a list, their parent. item: the place of its item there.
    round: of a child that a running job added, how many joins came before.
    """

    id: str | None = None
    step: str | None = None
    inputs: dict[str, str | list[str]] | None = None
    is_flow: bool = False
    result: str | None = None
    gathers: bool = False
    spreads: str | None = None
    item: int | None = None
    round: int = 0
