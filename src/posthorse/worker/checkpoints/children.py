"""Children that a running job adds, and joins: `ctx.add`, `ctx.add_many`, `ctx.join`.

Children are added once, however often the attempt is repeated. Outside of slices, a step notes them in the commit that
stores them; inside the transaction of a slice, the commit of the cursor does. A join ends the attempt until all
children are over, and is kept as a step once the code went past it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, cast, get_args, runtime_checkable

import msgspec

from posthorse import ids
from posthorse.errors import InvalidCall, InvalidOption, TooLarge
from posthorse.rules.in_flow import InFlow
from posthorse.rules.job import NewJob, Options
from posthorse.rules.outcomes import Joined
from posthorse.rules.steering import ChildFailed
from posthorse.rules.values.type_mismatch import short
from posthorse.store.base import Operation
from posthorse.store.operations.children import Standing, add_noted, standing_of
from posthorse.store.operations.families import NewFamily
from posthorse.store.operations.steps import StepRow
from posthorse.store.operations.submit import EntryTerms, SubmitResult
from posthorse.worker.checkpoints.child_journal import ChildJournal
from posthorse.worker.checkpoints.journal import Journal
from posthorse.worker.checkpoints.outputs import Outputs
from posthorse.worker.checkpoints.steps import ADD, ADDED, JOIN, JOINED, Steps

MAX_CHILDREN = 100_000
"""How many children one call adds at most: they are stored in one commit."""

IfFailed = Literal["raise", "skip"]
"""What a join does about children that are dead letters."""
IF_FAILED: tuple[IfFailed, ...] = get_args(IfFailed)

StoreFamily = Callable[[NewFamily, EntryTerms], Operation[list[SubmitResult]]]
"""Makes the operation that stores a family under the fence of an attempt."""


class Adding(NamedTuple):
    """Children of a running job that are about to be stored, and what stores them, with whatever else they need."""

    jobs: Sequence[NewJob]
    store: StoreFamily


class AddsChildren(Protocol):
    """An application: it stores calls as children of a running job, through its middleware."""

    def _store_children(self, calls: Sequence[Any], adding: Adding, /) -> None:
        """Store them. Raises InvalidOption for calls that cannot be children."""
        ...

    async def _astore_children(self, calls: Sequence[Any], adding: Adding, /) -> None: ...


@runtime_checkable
class Addable(Protocol):
    """A call: a kind bound to its arguments."""

    @property
    def app(self) -> AddsChildren: ...

    @property
    def template(self) -> NewJob: ...


class Passed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a join: how many children the job had, and why it raised, if it did."""

    total: int = 0
    why: str | None = None


class Children:
    """The children of one job, as one of its attempts adds and joins them."""

    def __init__(self, journal: Journal, steps: Steps, tenant: str | None) -> None:
        self._journal = journal
        self._steps = steps
        self._saved = journal.step_journal()
        self._stored = ChildJournal(journal)
        self._tenant = tenant
        self._named = Counter[str]()

    # ── adding ───────────────────────────────────────────────────────────────────────────────────────

    def add(self, calls: Sequence[Addable], name: str | None, *, is_one: bool) -> str:
        """Add children, and return the id of the first one."""
        if self._journal.is_called_in_transaction:
            adding = self._adding(calls, self._name_in_slice(name), None, is_one=is_one)
            self._stored.add(_storing(calls, adding), len(calls), is_noted=False)
            return adding.jobs[0].id
        label = self._label(calls, name)
        kept = self._steps.begin(label, ADD)
        if kept is None:
            self._journal.stop.raise_if_asked()
            adding = self._adding(calls, name, label, is_one=is_one)
            self._stored.add(_storing(calls, adding), len(calls), is_noted=True)
            kept = self._steps.keep(_noting(label, adding))
        return kept.value

    async def aadd(self, calls: Sequence[Addable], name: str | None, *, is_one: bool) -> str:
        """Do the same as `add`, in a coroutine."""
        if self._journal.is_called_in_transaction:
            adding = self._adding(calls, self._name_in_slice(name), None, is_one=is_one)
            await self._stored.aadd(_astoring(calls, adding), len(calls), is_noted=False)
            return adding.jobs[0].id
        label = self._label(calls, name)
        kept = self._steps.begin(label, ADD)
        if kept is None:
            self._journal.stop.raise_if_asked()
            adding = self._adding(calls, name, label, is_one=is_one)
            await self._stored.aadd(_astoring(calls, adding), len(calls), is_noted=True)
            kept = self._steps.keep(_noting(label, adding))
        return kept.value

    def _adding(self, calls: Sequence[Addable], name: str | None, label: str | None, *, is_one: bool) -> Adding:
        """Return the jobs of calls, as children, and what stores them; `label`: of the step that notes them."""
        parent = self._journal.job
        places = (name,) if is_one else (None if name is None else f"{name}[{number}]" for number in range(len(calls)))
        jobs = [
            self._child(call.template, job, parent, place)
            for call, job, place in zip(calls, ids.new_ids(len(calls)), places, strict=True)
        ]

        def store(family: NewFamily, terms: EntryTerms) -> Operation[list[SubmitResult]]:
            self._stored.begin()
            noted = None
            if label is not None:
                noted = self._stored.noted(self._steps.with_postponed(_noting(label, adding)))
            return add_noted(self._journal.fence, noted, family, terms)

        adding = Adding(jobs, store)
        return adding

    def _child(self, template: NewJob, job: str, parent: str, name: str | None) -> NewJob:
        tenant = self._tenant if template.tenant is None else template.tenant
        place = None if name is None and not self._joins else InFlow(step=name, round=self._joins)
        options = msgspec.structs.replace(Options.decode(template.options), flow=place, tenant=tenant)
        return msgspec.structs.replace(template, id=job, parent=parent, tenant=tenant, options=options.encode())

    def _label(self, calls: Sequence[Addable], name: str | None) -> str:
        """Return the name of the step that notes children that are added outside of a slice."""
        if name is not None:
            return name
        if self._journal.uncommitted_slice is not None:
            raise InvalidCall(
                "a child is added inside a slice, which may run again from anywhere; add it in "
                "`with batch.transaction():`, and it is stored with the slice, or give it a name of its own: "
                'ctx.add(…, name=f"mail {number}")'
            )
        return self._numbered(f"add {calls[0].template.lane.kind[:180]}")

    def _name_in_slice(self, name: str | None) -> str | None:
        if name is not None:
            raise InvalidCall(
                f"child {name!r} is added in the transaction of a slice, which adds it once; leave its name out"
            )
        return None

    @property
    def _joins(self) -> int:
        return len(self._journal.joined)

    def _numbered(self, label: str) -> str:
        self._named[label] += 1
        count = self._named[label]
        return label if count == 1 else f"{label}-{count}"

    # ── joining ──────────────────────────────────────────────────────────────────────────────────────

    def join(self, name: str | None, failed: IfFailed) -> Outputs:
        """Return the outputs of the children since the last join; end the attempt if one of them is not over."""
        label = self._numbered("join") if name is None else name
        kept = self._steps.begin(label, JOIN)
        if kept is None:
            self._journal.stop.raise_if_asked()
            row = self._judge(label, self._journal.read(standing_of(self._journal.job, self._joins)), failed)
            self._saved.keep_steps(self._steps.with_postponed(row))
            kept = self._steps.keep(row)
        return self._outputs(kept)

    async def ajoin(self, name: str | None, failed: IfFailed) -> Outputs:
        """Do the same as `join`, in a coroutine."""
        label = self._numbered("join") if name is None else name
        kept = self._steps.begin(label, JOIN)
        if kept is None:
            self._journal.stop.raise_if_asked()
            row = self._judge(label, await self._journal.aread(standing_of(self._journal.job, self._joins)), failed)
            await self._saved.akeep_steps(self._steps.with_postponed(row))
            kept = self._steps.keep(row)
        return self._outputs(kept)

    def _judge(self, label: str, standing: Standing, failed: IfFailed) -> StepRow:
        """Return the step of a join whose children are over. Raises Interrupted if they are not, ChildFailed."""
        join = standing.join
        if join is None:
            return _row(label, Passed())
        raises = standing.dead > 0 and failed == "raise"
        if join.open or (raises and join.phase is None):  # a job that never waited is not retried with its children
            open = f"{join.open:,} child{'' if join.open == 1 else 'ren'}"
            self._journal.stop.set_aside(Joined(), f"the job waits for {open}")
        passed = Passed(join.total)
        if raises:
            why = f"{standing.dead:,} of {join.total:,} children failed"
            if (last := standing.last) is not None:
                why = f"{why}; the last one is {last.job}: {last.reason}"
            self._steps.postpone(_row(label, msgspec.structs.replace(passed, why=why)))
            self._went_past(passed)
            raise ChildFailed(why)
        return _row(label, passed)

    def _outputs(self, kept: StepRow) -> Outputs:
        passed = msgspec.json.decode(kept.value, type=Passed)
        outputs = Outputs(self._journal, self._journal.job, self._joins)
        self._went_past(passed)
        if passed.why is not None:
            raise ChildFailed(passed.why)
        return outputs

    def _went_past(self, passed: Passed) -> None:
        self._journal.joined += (passed.total,)


def checked_calls(calls: object) -> Sequence[Addable]:
    """Check what is added. Raises InvalidOption, TooLarge."""
    if not isinstance(calls, list | tuple):
        raise InvalidOption(
            f"ctx.add_many takes a list of calls, not {short(calls)}; bind the arguments: [report.bind(…)]"
        )
    given = cast("Sequence[object]", calls)
    if len(given) > MAX_CHILDREN:
        raise TooLarge(
            f"{len(given):,} children are added at once, and one commit takes {MAX_CHILDREN:,}; add them in slices, in "
            "`with batch.transaction():`"
        )
    return [checked_call(call) for call in given]


def checked_call(call: object) -> Addable:
    """Check a call that is added. Raises InvalidOption."""
    if not isinstance(call, Addable):
        raise InvalidOption(
            f"a child is a call, not {short(call)}; bind the arguments of a kind: ctx.add(report.bind(7))"
        )
    return call


def checked_if_failed(value: object) -> IfFailed:
    """Check what a join does about failed children. Raises InvalidOption."""
    for known in IF_FAILED:
        if value == known:
            return known
    raise InvalidOption(f"failed is {short(value)}; it must be 'raise' or 'skip'")


def _storing(calls: Sequence[Addable], adding: Adding) -> Callable[[], None]:
    app = calls[0].app
    return partial(app._store_children, calls, adding)  # pyright: ignore[reportPrivateUsage]  # no call of users


def _astoring(calls: Sequence[Addable], adding: Adding) -> Callable[[], Awaitable[None]]:
    app = calls[0].app
    return partial(app._astore_children, calls, adding)  # pyright: ignore[reportPrivateUsage]


def _noting(label: str, adding: Adding) -> StepRow:
    return StepRow(label, ADDED, adding.jobs[0].id)


def _row(label: str, passed: Passed) -> StepRow:
    return StepRow(label, JOINED, msgspec.json.encode(passed).decode())
