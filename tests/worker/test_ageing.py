"""Ageing: a lane that others may starve gets a higher priority the longer its first job waits, but no longer."""

from __future__ import annotations

import posthorse as ph
from posthorse.rules.job import Lane
from posthorse.store.operations.claim import Claimed
from posthorse.worker.claiming.ageing import AGES_INTERVAL
from posthorse.worker.claiming.lanes import Lanes

LOW, HIGH, REPORT = Lane("mail", "letter", 0), Lane("mail", "letter", 10), Lane("reports", "letter", 0)


def lanes_with(**queues: ph.QueueSettings) -> Lanes:
    lanes = Lanes(lambda _: True, keeps_marks=False)
    lanes.add([(1, LOW), (2, HIGH), (3, REPORT)])
    lanes.obey(queues)
    return lanes


def probed(lanes: Lanes) -> list[int]:
    return [probe.lane for probe in lanes.probes(0.0, 9)]


def test_only_lanes_that_others_can_starve_are_asked_for_their_wait_once_a_second() -> None:
    lanes = lanes_with(reports=ph.QueueSettings(ageing=0.0))
    assert [probe.lane for probe in lanes.ageing_probes(5.0)] == [1]
    assert lanes.ageing_probes(5.0 + AGES_INTERVAL / 2) == ()
    assert [probe.lane for probe in lanes.ageing_probes(5.0 + AGES_INTERVAL)] == [1]


def test_lanes_of_one_priority_are_never_asked() -> None:
    lanes = Lanes(lambda _: True, keeps_marks=False)
    lanes.add([(1, LOW), (3, REPORT)])
    assert lanes.ageing_probes(5.0) == ()


def test_a_head_that_waited_long_counts_as_higher_until_something_was_taken() -> None:
    lanes = lanes_with(mail=ph.QueueSettings(ageing=60.0))
    lanes.ageing.learn({1: 9 * 60_000_000})
    assert [(probe.lane, probe.priority) for probe in lanes.probes(0.0, 9)] == [(2, 10), (1, 9), (3, 0)]
    lanes.ageing.learn({1: 11 * 60_000_000})
    assert probed(lanes) == [1, 2, 3]
    lanes.note([Claimed("j", 1, 1, 1, 0, 0, 0, "{}", None, None)], room=1, now=0.0, seconds=0.0)
    assert probed(lanes) == [2, 1, 3]
    lanes.ageing.learn({1: 10**18})
    assert max(probe.priority for probe in lanes.probes(0.0, 9)) == 100


def test_a_lane_whose_head_is_young_again_counts_no_higher_than_it_is() -> None:
    """Another runner claimed the old first job, which this runner does not learn."""
    lanes = lanes_with()
    lanes.ageing.learn({1: 10_000_000_000})
    assert {probe.lane: probe.priority for probe in lanes.probes(10.0, 1)}[1] > 10
    lanes.ageing.learn({1: 1})
    assert {probe.lane: probe.priority for probe in lanes.probes(10.1, 1)}[1] == 0


def test_other_settings_take_back_what_lanes_were_raised_by() -> None:
    lanes = lanes_with()
    lanes.ageing.learn({1: 10_000_000_000})
    lanes.obey({"mail": ph.QueueSettings(ageing=0.0)})
    assert probed(lanes) == [2, 1, 3]
