"""What the end of a job means to the stock that ordered it, in the commit of that end; and a run after it."""

from __future__ import annotations

from collections.abc import Sequence

from posthorse.rules.job import State
from posthorse.store.base import QuerySteps, query_rows


def end_orders(jobs: Sequence[str], state: State) -> QuerySteps[None]:
    """Put results on their shelves, where they can be taken once this commits.

    A job that failed for good, was skipped or cancelled holds its place for a while, because another one would end like
    it. If it is retried meanwhile and completes, its result is put there.
    """
    rows = [(job,) for job in sorted(jobs)]
    yield query_rows("end_orders", rows, state="made" if state is State.COMPLETED else "failed")
    if state is State.COMPLETED:
        yield query_rows("replace_by_key", rows)


def order_again(job: str) -> QuerySteps[None]:
    """Take the result of a job that runs again out of its stock; a shelf has the next one, in its place."""
    yield query_rows("order_again", [(job,)])
