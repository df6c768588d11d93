"""Twins in transactions: awaited calls of a job's handle work inside an async slice transaction, and see its writes."""

from __future__ import annotations

import posthorse as ph
from tests.waiting import until_state


def test_awaited_calls_join_an_asynchronous_transaction(app: ph.Posthorse) -> None:
    said: list[object] = []

    @app.job
    def double(number: int) -> int:
        return 2 * number

    @app.job(max_attempts=1)
    def fail(number: int) -> None:
        raise ValueError(number)

    @app.job
    def tolerant(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(1), tolerate=1):
            with batch.tolerate(batch[0]):
                raise LookupError

    @app.job(max_attempts=1)
    async def long(ctx: ph.Context, over: str, dead: str, other_dead: str, with_bad: str) -> None:
        async for batch in ctx.slices(range(1)):
            async with batch.transaction():
                said.append(await app.get_job(over).aresult())
                said.append([attempt.outcome for attempt in await app.get_job(dead).aattempts()])
                said.append([bad.item for bad in await app.get_job(with_bad).abad_items()])
                said.append(await app.get_job(with_bad).aretry_bad_items())
                said.append(await app.get_job(dead).aretry(arguments={"number": 8}))
                said.append(await app.get_job(other_dead).aretry_with(9))
                new = await double.aenqueue(1)
                said.append((await new.astatus()).state)
                said.append(await new.aattempts())
                said.append(await new.abad_items())
                try:
                    await app.get_job("01936f5e-7c1a-7d2b-8e3f-0123456789ab").abad_items()
                except ph.JobNotFound:
                    said.append("not found")

    with app.worker():
        over, dead, other, bad = double.enqueue(7), fail.enqueue(1), fail.enqueue(2), tolerant.enqueue()
        assert over.result(timeout=30) == 14
        bad.result(timeout=30)
        until_state(dead, "failed")
        until_state(other, "failed")
        long.enqueue(over.id, dead.id, other.id, bad.id).result(timeout=30)
        assert said == [14, ["failed"], [0], *["pending"] * 3, "pending", [], [], "not found"]
        for job, number in ((dead, "8"), (other, "9")):
            error = until_state(job, "failed").error
            assert error is not None
            assert error.message == number
