"""The kit works on every store; a server gives each test a database of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

import posthorse as ph
from posthorse import testing as pt
from tests.servers import MigratedDatabases
from tests.testing import shop
from tests.testing.shop import calls, invite, total, unreliable, welcome


@pytest.fixture
def kit(store_url: str) -> Iterator[pt.Kit]:
    calls.clear()
    with pt.kit(shop.app, url=store_url) as kit:
        yield kit


def test_jobs_are_drained_in_order(kit: pt.Kit) -> None:
    for number in range(3):
        welcome.enqueue(number)
    job = total.enqueue(35)
    kit.assert_enqueued(welcome, times=3)
    assert kit.drain().completed == 4
    assert calls[:3] == [0, 1, 2]
    assert job.result() == sum(range(35))


def test_time_moves_delays_and_backoffs(kit: pt.Kit) -> None:
    welcome.using(delay="3d").enqueue(1)
    assert kit.drain().completed == 0
    kit.clock.advance("3d")
    assert kit.drain().completed == 1
    unreliable.enqueue(2)
    assert kit.drain(due=True).completed == 1
    welcome.enqueue(2)
    assert kit.drain().completed == 1


def test_jobs_run_inline_and_in_coroutines(kit: pt.Kit) -> None:
    async def main() -> None:
        await invite.aenqueue(8)
        assert (await kit.adrain()).completed == 2

    with kit.inline():
        welcome.enqueue(7)
    assert calls == [7]
    asyncio.run(main())
    assert calls == [7, 8]


def test_a_crashed_worker_is_followed_by_another(kit: pt.Kit) -> None:
    job = total.enqueue(50)
    with pt.crash_in_slice(2):
        kit.drain()
    assert job.result() == sum(range(50))


def test_each_test_has_a_database_of_its_own(databases: MigratedDatabases) -> None:
    with databases.empty("18") as url:
        with pt.postgres(url) as one, pt.kit(shop.app, url=one):
            welcome.enqueue(1)
        with pt.postgres(url) as two, pt.kit(shop.app, url=two) as kit:
            assert one != two
            kit.assert_not_enqueued()
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            psycopg.connect(one)
    with pytest.raises(ph.InvalidOption, match="PostgreSQL server"), pt.postgres("sqlite:///a.db"):
        pass
