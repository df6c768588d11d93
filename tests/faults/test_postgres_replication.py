"""Replication: what is acknowledged when no standby confirms, and what a failover costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from psycopg import sql

from posthorse.errors import OutcomeUnknown, StoreError
from posthorse.rules.outcomes import Lost
from posthorse.store.operations import read
from tests.faults.standby import one, standby_of
from tests.servers import PostgresServer
from tests.store.yard import Yard
from tests.waiting import until

WAITS_FOR_A_STANDBY = "SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


Opened = Callable[[str], Yard]


@pytest.fixture
def opened(own_postgres: PostgresServer) -> Iterator[Opened]:
    """Yield a function that opens stores, which are closed before their server ends."""
    yards: list[Yard] = []

    def open_one(url: str) -> Yard:
        yards.append(Yard(url))
        return yards[-1]

    yield open_one
    for yard in yards:
        yard.store.close()


@contextmanager
def nobody_confirms(server: PostgresServer) -> Iterator[None]:
    """Let commits wait for a synchronous standby that does not exist."""
    server.execute(sql.SQL("ALTER SYSTEM SET synchronous_standby_names = 'nobody'"))
    server.execute(sql.SQL("SELECT pg_reload_conf()"))
    until(lambda: one(server.url(), "SHOW synchronous_standby_names") == ("nobody",))
    try:
        yield
    finally:
        server.execute(sql.SQL("ALTER SYSTEM RESET synchronous_standby_names"))
        server.execute(sql.SQL("SELECT pg_reload_conf()"))


def who_waits(server: PostgresServer, *, other_than: object = 0) -> int:
    """Return the session whose commit waits for the standby."""
    found: list[int] = []

    def look() -> bool:
        [pid] = one(server.url(), WAITS_FOR_A_STANDBY)
        assert isinstance(pid, int)
        found.append(pid)
        return pid not in (0, other_than)

    until(look, what="a commit that waits for its standby")
    return found[-1]


def test_a_commit_that_nobody_confirmed_is_not_acknowledged(own_postgres: PostgresServer, opened: Opened) -> None:
    """F54: the server itself calls it committed, with a warning. Enqueuing again finds it (I2, I3)."""
    yard = opened(own_postgres.url())
    yard.store.migrate()
    yard.enqueue()
    jobs = yard.new(key="invoice-7")
    with ThreadPoolExecutor(1) as pool, nobody_confirms(own_postgres):
        asked = pool.submit(yard.submit, jobs)
        one(own_postgres.url(), f"SELECT pg_cancel_backend({who_waits(own_postgres)})")
        with pytest.raises(OutcomeUnknown, match=r"wait for a synchronous standby was cancelled.*ask again"):
            asked.result(20)
        asked = pool.submit(yard.submit, yard.new(key="invoice-7"))
        who_waits(own_postgres)
        assert not asked.done(), "acknowledged without a standby"
    assert [again.id for again in asked.result(20)] == [jobs[0].id]
    assert yard.waiting() == 2
    yard.audit()


def test_a_commit_whose_session_ended_while_it_waited_is_asked_for_again(
    own_postgres: PostgresServer, opened: Opened
) -> None:
    """F54: the second call waits for the standby as well, and returns when one confirms."""
    yard = opened(own_postgres.url())
    yard.store.migrate()
    yard.enqueue()
    jobs = yard.new()
    with ThreadPoolExecutor(1) as pool:
        with nobody_confirms(own_postgres):
            asked = pool.submit(yard.submit, jobs)
            first = who_waits(own_postgres)
            one(own_postgres.url(), f"SELECT pg_terminate_backend({first})")
            who_waits(own_postgres, other_than=first)
            assert not asked.done()
        assert [submitted.id for submitted in asked.result(20)] == [jobs[0].id]
    assert yard.waiting() == 2
    yard.audit()


def test_a_lagging_standby_that_is_promoted_loses_what_it_had_not_seen_and_nothing_else(
    own_postgres: PostgresServer, opened: Opened
) -> None:
    """F53: acknowledged jobs that were not replicated are lost, as documented; asking for them is an error.

    Late results of attempts that the new primary does not know are refused (I5).
    """
    primary = own_postgres
    opened(primary.url()).store.migrate()
    with standby_of(primary) as standby:
        yard = opened(f"postgresql://postgres@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/postgres")
        kept = yard.enqueue(3)
        runner = yard.runner()
        held = yard.claim_one(runner)
        standby.wait_until_it_has_everything()
        replica = opened(standby.url())
        with pytest.raises(StoreError, match="read-only"):  # F55: a replica serves no callers
            replica.enqueue()

        standby.stop_following()
        lost = yard.enqueue(2)
        late = yard.claim_one(runner)
        assert late.job == kept[1]
        primary.kill()
        standby.promote()

        assert yard.state(kept[2]) == "pending"
        assert [yard.store.read(read.job(id)) for id in lost] == [None, None]
        assert yard.complete(held) == []
        assert yard.complete(late) == [late.job], "an attempt that nobody knows was accepted"
        yard.enqueue()
        assert yard.waiting() == 3
        yard.audit()


def test_a_claim_that_was_lost_in_a_failover_is_no_right_to_write(own_postgres: PostgresServer, opened: Opened) -> None:
    """F53, I4, I5: the new primary gives its epoch to another runner; the fence distinguishes the two."""
    primary = own_postgres
    opened(primary.url()).store.migrate()
    with standby_of(primary) as standby:
        yard = opened(primary.url())
        yard.enqueue()
        standby.wait_until_it_has_everything()
        standby.stop_following()
        late = yard.claim_one()
        primary.kill()
        standby.promote()
        after = opened(standby.url())
        again = after.claim_one()
        assert again[:2] == late[:2]
        assert after.checkpoint(late) is None
        assert not after.settle(late, Lost("gone"))
        assert after.complete(late) == [late.job], "two runners hold one job"
        assert after.complete(again) == []
