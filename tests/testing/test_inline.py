"""Inline, what is enqueued runs before the call returns, and its errors are raised there."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

import posthorse as ph
from posthorse import testing as pt
from tests.testing import shop
from tests.testing.shop import again, calls, hopeless, invite, welcome


def test_a_job_runs_before_enqueue_returns(kit: pt.Kit) -> None:
    with kit.inline():
        assert welcome.enqueue(7).result() == 7
        assert calls == [7]
        shop.app.enqueue_many([welcome.bind(8), welcome.bind(9)])
        assert calls == [7, 8, 9]
    welcome.enqueue(10)
    assert calls == [7, 8, 9]


def test_jobs_that_enqueue_jobs_see_them_run(kit: pt.Kit) -> None:
    with kit.inline():
        again.enqueue(2)
        invite.enqueue(3)
    assert calls == [2, 1, 0, 3]


def test_an_error_of_the_job_is_raised_by_enqueue_once(kit: pt.Kit) -> None:
    with kit.inline():
        with pytest.raises(ZeroDivisionError):
            hopeless.enqueue()
        welcome.enqueue(1)
    assert kit.assert_enqueued(hopeless).state is ph.State.FAILED


def test_a_job_whose_time_has_not_come_waits(kit: pt.Kit) -> None:
    with kit.inline():
        welcome.using(delay="1h").enqueue(1)
    assert calls == []
    kit.clock.advance("1h")
    assert kit.drain().completed == 1


def test_a_kit_may_be_inline_from_the_beginning() -> None:
    calls.clear()
    with pt.kit(shop.app, inline=True):
        welcome.enqueue(7)
        assert calls == [7]
    assert shop.app.interception is None


def test_coroutines_run_jobs_inline_on_their_own_loop(kit: pt.Kit) -> None:
    async def main() -> None:
        with kit.inline():
            assert await (await invite.aenqueue(3)).aresult() == 3
            assert calls == [3]
            with pytest.warns(RuntimeWarning, match="blocks"):
                welcome.enqueue(4)
            assert calls == [3, 4]

    asyncio.run(main())


def test_inside_a_transaction_it_waits_for_the_commit(kit: pt.Kit) -> None:
    path = shop.app.settings.url.removeprefix("sqlite:///")
    shop.app.migrate()
    connection = sqlite3.connect(path)
    with kit.inline():
        welcome.using(connection=connection).enqueue(7)
        assert calls == []
        connection.commit()
        welcome.enqueue(8)
    connection.close()
    assert calls == [7, 8]
