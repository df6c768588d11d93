"""A kit points applications to a fresh store, moves its clock, and puts everything back afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import posthorse as ph
from posthorse import testing as pt
from tests.testing import shop
from tests.testing.shop import calls, report, welcome


def test_each_test_has_a_store_of_its_own_and_the_application_gets_its_own_back(kit: pt.Kit) -> None:
    own = shop.app.store
    other = ph.Posthorse("sqlite:////nowhere/other.db")
    kind = other.job(_nothing)
    url, store, gate = other.settings.url, other.store, other.gate
    for _ in range(2):
        with pt.kit(other):
            assert other.store is not store
            assert other.jobs().count() == 0
            kind.enqueue()
            assert other.jobs().count() == 1
    assert (other.settings.url, other.store, other.gate) == (url, store, gate)
    assert shop.app.store is own


def _nothing() -> None: ...


def test_the_application_gets_its_store_back_after_an_error() -> None:
    store = shop.app.store
    with pytest.raises(ZeroDivisionError), pt.kit(shop.app):
        raise ZeroDivisionError
    assert shop.app.store is store


def test_applications_that_share_a_store_share_the_fresh_one() -> None:
    one = ph.Posthorse("sqlite:////nowhere/one.db")
    two = ph.Posthorse("sqlite:////nowhere/one.db")
    three = ph.Posthorse("sqlite:////nowhere/three.db")
    kinds = [app.job(kind=f"kind-{number}")(_nothing) for number, app in enumerate((one, two, three))]
    with pt.kit(one, two, three) as kit:
        for kind in kinds:
            kind.enqueue()
        assert one.settings.url == two.settings.url != three.settings.url
        assert [job.kind for job in kit.enqueued()] == ["kind-0", "kind-1", "kind-2"]
        assert kit.drain().completed == 3


def test_bundles_enqueue_to_the_store_of_the_test() -> None:
    bundle = ph.Bundle()
    kind = bundle.job(_nothing)
    app = ph.Posthorse("sqlite:////nowhere/bundles.db")
    app.include(bundle)
    with pt.kit(app) as kit:
        kind.enqueue()
        kit.assert_enqueued(kind)


def test_time_stands_still_until_it_is_moved(kit: pt.Kit) -> None:
    welcome.using(delay="3d").enqueue(1)
    kit.assert_enqueued(welcome, delay="3d")
    before = kit.clock.now
    kit.clock.advance("2d")
    assert kit.drain().completed == 0
    kit.clock.advance("1d")
    assert timedelta(0) <= kit.clock.now - before - timedelta(days=3) < timedelta(milliseconds=1)
    assert kit.drain().completed == 1


def test_schedules_follow_the_clock_from_the_beginning_of_the_test() -> None:
    calls.clear()
    with pt.kit(shop.reports, now=datetime(2024, 2, 28, 12, tzinfo=UTC)) as kit:
        kit.clock.advance("11h")
        assert kit.drain().completed == 0
        kit.clock.advance("1h")
        assert kit.drain().completed == 1
        kit.clock.move_to(datetime(2024, 3, 1, tzinfo=UTC))  # it was a leap year
        assert kit.drain().completed == 1
        days = [one.status.scheduled_at for one in kit.enqueued(report)]
        assert days == [datetime(2024, 2, 29, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)]


def test_time_does_not_move_back(kit: pt.Kit) -> None:
    with pytest.raises(ph.InvalidOption, match="only moves forward"):
        kit.clock.move_to(datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(ph.InvalidOption, match="time zone"):
        kit.clock.move_to(datetime(2020, 1, 1))  # noqa: DTZ001  # on purpose
    for back in (-1, "-1h", timedelta(seconds=-1)):
        with pytest.raises(ph.InvalidOption, match=r"advance: .* goes back, and time only moves forward"):
            kit.clock.advance(back)


def test_jobs_enqueued_after_a_long_time_are_in_order(kit: pt.Kit) -> None:
    for number in range(3):
        welcome.enqueue(number)
        kit.clock.advance("400d")
    assert kit.drain().completed >= 3
    assert [one.arguments["user_id"] for one in kit.enqueued(welcome)] == [0, 1, 2]


def test_keys_end_and_jobs_expire_with_the_clock(kit: pt.Kit) -> None:
    keyed = welcome.using(key=ph.Key("a", ttl="1h"))
    assert keyed.enqueue(1).created
    assert not keyed.enqueue(1).created
    kit.clock.advance("61m")
    assert keyed.enqueue(1).created
    expiring = welcome.using(expires="1h").enqueue(2)
    kit.clock.advance("2h")
    kit.drain(raise_errors=False)
    assert expiring.status().state is ph.State.CANCELLED


def test_old_jobs_leave_with_the_clock(kit: pt.Kit) -> None:
    job = welcome.enqueue(1)
    kit.drain()
    kit.clock.advance("400d")
    kit.drain()
    with pytest.raises(ph.JobForgotten):
        job.status()


def test_a_worker_of_the_test_beside_the_kit_hears_of_the_clock(kit: pt.Kit) -> None:
    job = welcome.using(delay="20s").enqueue(1)
    with shop.app.worker():
        kit.clock.advance("20s")  # less than a lease, or the worker counts as dead
        assert job.result(timeout=30) == 1


def test_wrong_uses_say_what_is_right(kit: pt.Kit) -> None:
    with pytest.raises(ph.InvalidOption, match="needs an application"):
        pt.kit()
    with pytest.raises(ph.InvalidCall, match="in use"), kit:
        pass
