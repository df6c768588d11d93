"""The place of a running job in its flow: its step, what it needed, and what all steps share.

Everything that is not in the job's own options is read from the store when it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from posthorse.errors import InvalidCall, InvalidOption, JobForgotten
from posthorse.rules.in_flow import InFlow
from posthorse.rules.job import Options, State
from posthorse.rules.values.type_mismatch import short
from posthorse.store.operations.flow_reading import FlowRow, NeededRow, needed_by, shared_by_flow
from posthorse.store.operations.outputs import OutputRow, outputs_of, outputs_of_items
from posthorse.worker.checkpoints.journal import Journal
from posthorse.worker.checkpoints.outputs import Outputs


class PreviousStep(msgspec.Struct, frozen=True, kw_only=True):
    """A job that ended before a step of a flow, because the step needs that.

    name: of the step; of a job outside of the flow, its kind. job: its id. needs: which end was needed of it.
    is_list: whether it ran a kind for each item of a list.
    """

    name: str
    job: str
    state: State
    needs: str
    is_list: bool = False


class FlowStep:
    """The place of a running job in its flow: `ctx.flow`. Each method has a twin with an `a`, to be awaited.

    id: the job of the flow. step: the name of the step that runs.
    """

    def __init__(self, journal: Journal, job: str, place: InFlow) -> None:
        self.id = place.id or ""
        self.step = place.step or ""
        self._journal = journal
        self._job = job

    def context(self) -> dict[str, Any]:
        """Return what all steps share: the `context=` that the flow was made with. Raises StoreError."""
        self._journal.warn_in_loop("ctx.flow.context()", "use `await ctx.flow.acontext()`")
        return self._context_in(self._journal.read(shared_by_flow(self.id)))

    async def acontext(self) -> dict[str, Any]:
        """Do the same as `context`, in a coroutine."""
        return self._context_in(await self._journal.aread(shared_by_flow(self.id)))

    def previous_steps(self) -> list[PreviousStep]:
        """Return the steps and jobs that this one needed, in the order in which they were added. Raises StoreError."""
        self._journal.warn_in_loop("ctx.flow.previous_steps()", "use `await ctx.flow.aprevious_steps()`")
        return [_previous(row) for row in self._journal.read(needed_by(self._job))]

    async def aprevious_steps(self) -> list[PreviousStep]:
        """Do the same as `previous_steps`, in a coroutine."""
        return [_previous(row) for row in await self._journal.aread(needed_by(self._job))]

    def output(self, previous: PreviousStep) -> object:
        """Return what a previous step returned, as plain data. Raises InvalidCall if it did not complete."""
        self._journal.warn_in_loop("ctx.flow.output()", "use `await ctx.flow.aoutput()`")
        job = _job_of(previous)
        while True:
            row = self._journal.read(outputs_of([job])).get(job)
            if row is not None and _gathers(row):
                return self._listed(self._journal.read(outputs_of_items(job)))
            further, value = self._output_in(previous, row)
            if further is None:
                return value
            job = further

    async def aoutput(self, previous: PreviousStep) -> object:
        """Do the same as `output`, in a coroutine."""
        job = _job_of(previous)
        while True:
            row = (await self._journal.aread(outputs_of([job]))).get(job)
            if row is not None and _gathers(row):
                return self._listed(await self._journal.aread(outputs_of_items(job)))
            further, value = self._output_in(previous, row)
            if further is None:
                return value
            job = further

    def outputs(self, previous: PreviousStep) -> Outputs:
        """Return what the jobs for the items of a list returned, to be read page by page, however many they are.

        For steps that `flow.map` added. Raises InvalidCall for any other one.
        """
        job = _job_of(previous)
        if not previous.is_list:
            raise InvalidCall(
                f"step {previous.name!r} has one output and not one for each item of a list; read it with "
                "ctx.flow.output(…)"
            )
        return Outputs(self._journal, job)

    def _context_in(self, row: FlowRow | None) -> dict[str, Any]:
        if row is None:
            raise JobForgotten(f"flow {self.id} was removed from the store while its step {self.step!r} runs")
        text = self._journal.texts_of(self.id, row.options).unpack(row.arguments, "arguments")
        return msgspec.json.decode(text, type=dict[str, dict[str, Any]]).get("context", {})

    def _listed(self, rows: Sequence[OutputRow]) -> list[object]:
        return [
            msgspec.json.decode(self._journal.texts_of(row.id, row.options).unpack(row.result or "null", "result"))
            for row in rows
        ]

    def _output_in(self, previous: PreviousStep, row: OutputRow | None) -> tuple[str | None, object]:
        """Return the value in a row; or else the job whose result it is, if it is a flow."""
        if row is None or row.state != State.COMPLETED:
            became = "was removed" if row is None else f"is {row.state}"
            raise InvalidCall(f"step {previous.name!r} has no output, because job {previous.job} {became}")
        place = Options.decode(row.options).flow
        if place is not None and place.result is not None:
            return place.result, None
        text = self._journal.texts_of(row.id, row.options).unpack(row.result or "null", "result")
        return None, msgspec.json.decode(text)


def _previous(row: NeededRow) -> PreviousStep:
    place = Options.decode(row.options).flow
    name = row.kind if place is None or place.step is None else place.step
    is_list = place is not None and place.gathers
    return PreviousStep(name=name, job=row.id, state=State(row.state), needs=row.needs, is_list=is_list)


def _job_of(previous: object) -> str:
    if not isinstance(previous, PreviousStep):
        raise InvalidOption(f"ctx.flow.output() takes one of ctx.flow.previous_steps(), not {short(previous)}")
    return previous.job


def _gathers(row: OutputRow) -> bool:
    place = Options.decode(row.options).flow
    return place is not None and place.gathers and row.state == State.COMPLETED
