"""Store calls as children of a running job: `ctx.add` of the worker comes here, so that middleware sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from posthorse.app.call import Call, CallWithOutputs
from posthorse.app.callbacks import callbacks_of
from posthorse.app.submitting import Submission
from posthorse.errors import InvalidOption
from posthorse.rules.job import NewJob
from posthorse.rules.joins import Edge
from posthorse.rules.values.type_mismatch import short

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse
    from posthorse.worker.checkpoints.children import Adding


def submission_of_children(app: Posthorse, calls: Sequence[object], adding: Adding) -> Submission:
    """Return the jobs of calls as children, and those of their callbacks, which are not. Raises InvalidOption."""
    jobs: list[NewJob] = list(adding.jobs)
    edges: list[Edge] = []
    for call, child in zip(calls, adding.jobs, strict=True):
        further, needs = callbacks_of(_checked(app, call), child.id)
        jobs += further
        edges += needs
    return Submission(jobs, edges=edges, store=adding.store)


def _checked(app: Posthorse, given: object) -> Call[Any]:
    """Check a call that is added to a job. Raises InvalidOption."""
    if not isinstance(given, Call):
        raise InvalidOption(f"a child is a call, not {short(given)}; bind the arguments of a kind: report.bind(7)")
    call = cast("Call[object]", given)
    kind = call.template.lane.kind
    if call.app is not app:
        raise InvalidOption(f"{kind!r} belongs to another application; all children of one call belong to one")
    if isinstance(call, CallWithOutputs):
        raise call.outside_of_flow()
    if call.connection is not None:
        raise InvalidOption(
            f"{kind!r} has a connection, but a child is stored under the lease of its parent; leave the connection "
            "out, or add it in `with batch.transaction(connection):`"
        )
    if call.template.key is not None or call.template.unique is not None:
        raise InvalidOption(
            f"{kind!r} has a key or is unique, so the child might be an earlier job, which is none of this one; "
            f"children are added once anyway: leave the key out, and add {kind}.using(unique=False)"
        )
    return call
