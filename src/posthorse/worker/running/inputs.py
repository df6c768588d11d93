"""Inputs: the results of earlier jobs that a job takes as arguments, fetched right before it starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from posthorse.errors import CodecError, ResultExpired
from posthorse.rules.arguments.signature import ARGUMENT_LIMIT, InputsUnfit
from posthorse.rules.job import JobError, Options, State
from posthorse.rules.outcomes import Outcome, Raised, Unfit
from posthorse.rules.packing import Packing
from posthorse.store.operations.outputs import OutputRow, outputs_of, outputs_of_items
from posthorse.store.store import Store
from posthorse.worker.running.running_job import RunningJob

GIVES_UP = "what it takes from earlier jobs is not there, or does not fit"


class NoInput(Exception):
    """Raised if the result of an earlier job is not there; the message says why."""


async def fill_inputs(
    store: Store, running: RunningJob, inputs: Mapping[str, str | list[str]], packing: Packing
) -> Outcome | None:
    """Put the results of earlier jobs into the arguments; return the outcome of a job for which that is not possible.

    Another attempt would find the same results, so such a job gives up. Raises StoreError.
    """
    claimed = running.claimed
    assert claimed.arguments is not None, "long ones are fetched before"
    try:
        results = await _results(store, {job for jobs in inputs.values() for job in _listed(jobs)}, packing)
        filling = {
            name: results[jobs] if isinstance(jobs, str) else f"[{','.join(results[job] for job in jobs)}]"
            for name, jobs in inputs.items()
        }
        own = packing.of_stored(claimed.job, claimed.options).unpack(claimed.arguments, "arguments")
        arguments = running.kind.signature.filled_in(own, filling)
    except CodecError as error:  # a worker that has the codec takes the job
        return Unfit(str(error))
    except (NoInput, ResultExpired, InputsUnfit) as error:
        return Raised(JobError(type="InvalidArgument", message=str(error)), gives_up=GIVES_UP)
    running.claimed = claimed._replace(arguments=arguments)
    return None


def _listed(jobs: str | list[str]) -> Iterable[str]:
    return (jobs,) if isinstance(jobs, str) else jobs


async def _results(store: Store, jobs: Iterable[str], packing: Packing) -> Mapping[str, str]:
    """Return the results (JSON) of these jobs. The result of a flow is that of one of its steps."""
    wanted = {job: job for job in jobs}
    results: dict[str, str] = {}
    while wanted:
        found = await store.aread(outputs_of([*{*wanted.values()}]))
        further: dict[str, str] = {}
        for job, source in wanted.items():
            row = _completed(source, found.get(source))
            place = Options.decode(row.options).flow
            if place is not None and place.gathers:
                results[job] = await _listed_results(store, source, packing)
            elif place is not None and place.result is not None:
                further[job] = place.result
            else:
                results[job] = packing.of_stored(source, row.options).unpack(row.result or "null", "result")
        wanted = further
    if (size := sum(map(len, results.values()))) > ARGUMENT_LIMIT:
        raise NoInput(
            f"the results that it takes have {size:,} characters together, and the limit is {ARGUMENT_LIMIT:,}; let "
            "the earlier steps keep the bulk in a table or a file, and return its key or path"
        )
    return results


async def _listed_results(store: Store, parent: str, packing: Packing) -> str:
    """Return the results of the jobs for the items of a list, as a JSON list in the order of these."""
    rows = await store.aread(outputs_of_items(parent))
    texts = (packing.of_stored(row.id, row.options).unpack(row.result or "null", "result") for row in rows)
    return f"[{','.join(texts)}]"


def _completed(job: str, row: OutputRow | None) -> OutputRow:
    if row is None:
        raise NoInput(f"job {job}, whose result it takes, is not stored any more; retry the flow from that step on")
    if row.state != State.COMPLETED:
        raise NoInput(f"job {job}, whose result it takes, is {row.state}; retry this job once that one has completed")
    return row
