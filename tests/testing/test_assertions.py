"""Assertions find jobs by their arguments and options, and show the nearest ones if there is none."""

from __future__ import annotations

from unittest.mock import ANY

import pytest

import posthorse as ph
from posthorse import testing as pt
from tests.testing.shop import hopeless, welcome


def test_a_job_is_found_by_some_of_its_arguments_and_options(kit: pt.Kit) -> None:
    job = welcome.using(priority=5, tags=["vip", "new"], delay="10m", tenant="acme").enqueue(7)
    assert kit.assert_enqueued(welcome).job.id == job.id
    kit.assert_enqueued(welcome, 7)
    kit.assert_enqueued(welcome, user_id=7, polite=True)
    kit.assert_enqueued("welcome", ANY, queue="mail", priority=5, tags=["vip"], delay="10m", tenant="acme")
    kit.assert_enqueued(welcome, state="scheduled", times=1)
    kit.assert_not_enqueued(welcome, 8)
    kit.assert_not_enqueued(hopeless)


def test_a_job_that_has_run_was_enqueued_all_the_same(kit: pt.Kit) -> None:
    welcome.enqueue(7)
    kit.drain()
    assert kit.assert_enqueued(welcome, 7).state is ph.State.COMPLETED


def test_a_job_is_found_by_its_key_and_its_metadata(kit: pt.Kit) -> None:
    one = welcome.using(key="one", metadata={"request": "r1", "user": 3}).enqueue(1)
    two = welcome.using(key=ph.Key("two", scope="app"), tenant="acme").enqueue(2)
    hopeless.using(key="one").enqueue()
    assert kit.assert_enqueued(welcome, key="one", metadata={"request": "r1"}, times=1).job.id == one.id
    assert kit.assert_enqueued(welcome, key="two").job.id == two.id
    kit.assert_enqueued(welcome, key=ph.Key("two", scope="app"))
    assert kit.enqueued(welcome)[0].key == "one"
    with pytest.raises(AssertionError, match=r"key='one' \(not 'three'\)"):
        kit.assert_enqueued(welcome, key="three")
    with pytest.raises(AssertionError, match=r"metadata=.*'r1'.*\(not \{'request': 'r2'\}\)"):
        kit.assert_enqueued(welcome, metadata={"request": "r2"})
    with pytest.raises(ph.InvalidOption, match="as a dict"):
        kit.assert_enqueued(welcome, metadata="r1")
    kit.drain(raise_errors=False)
    kit.assert_enqueued(welcome, key="one", times=1)


def test_the_nearest_jobs_are_shown(kit: pt.Kit) -> None:
    welcome.enqueue(8)
    welcome.enqueue(7, polite=False)
    with pytest.raises(AssertionError) as raised:
        kit.assert_enqueued(welcome, user_id=7, polite=False, queue="post")
    assert str(raised.value).splitlines() == [
        "no job was enqueued for welcome with user_id=7, polite=False, queue='post'. Enqueued were 2 of this kind, "
        "the nearest first:",
        "  welcome(user_id=7, polite=False) in queue mail, pending: queue='mail' (not 'post')",
        "  welcome(user_id=8, polite=True) in queue mail, pending: user_id=8 (not 7), polite=True (not False), "
        "queue='mail' (not 'post')",
    ]


def test_other_kinds_are_named_if_none_of_the_kind_was_enqueued(kit: pt.Kit) -> None:
    with pytest.raises(AssertionError, match="nothing was enqueued"):
        kit.assert_enqueued(hopeless)
    welcome.enqueue(1)
    with pytest.raises(AssertionError, match="enqueued were 1 × welcome"):
        kit.assert_enqueued(hopeless)


def test_times_counts_exactly(kit: pt.Kit) -> None:
    welcome.enqueue(1)
    welcome.enqueue(1)
    kit.assert_enqueued(welcome, 1, times=2)
    with pytest.raises(AssertionError, match="2 jobs were enqueued for welcome with user_id=1, not 3"):
        kit.assert_enqueued(welcome, 1, times=3)
    with pytest.raises(ph.InvalidOption, match="assert_not_enqueued"):
        kit.assert_enqueued(welcome, times=0)


def test_nothing_enqueued_is_checked(kit: pt.Kit) -> None:
    kit.assert_not_enqueued()
    welcome.enqueue(1)
    with pytest.raises(AssertionError, match=r"any job should not be enqueued, and 1 were:\n  welcome\(user_id=1"):
        kit.assert_not_enqueued()


def test_misspelt_words_are_corrected(kit: pt.Kit) -> None:
    with pytest.raises(ph.InvalidArgument, match="did you mean user_id"):
        kit.assert_enqueued(welcome, user=7)
    with pytest.raises(ph.InvalidArgument, match="did you mean queue"):
        kit.assert_enqueued(welcome, que="mail")
    with pytest.raises(ph.InvalidOption, match="did you mean 'welcome'"):
        kit.assert_enqueued("welcom")
    with pytest.raises(ph.InvalidArgument, match="takes 2 arguments"):
        kit.assert_enqueued(welcome, 1, True, 3)
