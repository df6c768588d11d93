"""Served lanes: those of known kinds whose queue is open and requires no label that is missing."""

from __future__ import annotations

import posthorse as ph
from posthorse.rules.job import Lane
from posthorse.rules.window import as_window
from posthorse.store.operations.claim import Probe
from posthorse.worker.claiming.served_lanes import ServedLanes

LOW, HIGH, REPORT = Lane("mail", "letter", 0), Lane("mail", "letter", 10), Lane("reports", "letter", 0)
NOON = 12 * 3_600_000_000
HOUR = 3_600_000_000


def served(**queues: ph.QueueSettings) -> ServedLanes:
    lanes = ServedLanes(lambda lane: lane.kind == "letter", labels={"zone": "a"})
    lanes.add([(1, LOW), (2, HIGH), (3, REPORT)])
    lanes.obey(queues)
    lanes.open_at(NOON)
    return lanes


def opened(lanes: ServedLanes) -> list[int]:
    return [number for number, _ in lanes.open(lanes.numbers)]


def test_paused_queues_and_those_outside_of_their_window_are_left_alone() -> None:
    assert opened(served()) == [1, 2, 3]
    assert opened(served(mail=ph.QueueSettings(paused=True))) == [3]
    lanes = served(reports=ph.QueueSettings(window=as_window("13:00-14:00")))
    assert opened(lanes) == [1, 2]
    assert lanes.open_at(NOON + HOUR) == (frozenset({"reports"}), frozenset())
    assert opened(lanes) == [1, 2, 3]
    assert lanes.open_at(NOON + 2 * HOUR) == (frozenset(), frozenset({"reports"}))
    assert opened(lanes) == [1, 2]


def test_a_queue_that_asks_for_labels_is_served_by_those_who_have_them() -> None:
    assert opened(served(mail=ph.QueueSettings(labels={"zone": "a"}))) == [1, 2, 3]
    assert opened(served(mail=ph.QueueSettings(labels={"zone": "b"}))) == [3]


def test_a_lane_whose_kind_was_unknown_is_served_once_it_is_known() -> None:
    known: set[str] = set()
    lanes = ServedLanes(lambda lane: lane.kind in known)
    assert lanes.add([(1, LOW)]) == []
    known.add("letter")
    assert lanes.add([]) == [1]
    assert lanes.add([]) == []
    assert opened(lanes) == [1]


def test_all_lanes_that_were_looked_at_are_known_even_foreign_ones() -> None:
    lanes = served()
    assert lanes.known == 3
    assert lanes.add([(9, Lane("mail", "foreign", 3))]) == []
    assert lanes.known == 9
    assert lanes[2] == HIGH
    assert list(lanes.numbers) == [1, 2, 3]


def test_lanes_of_suspects_are_probed_by_themselves_and_only_while_their_queue_is_open() -> None:
    lanes = served()
    lanes.add([(4, Lane("mail", "letter", 0, solo=True)), (5, Lane("reports", "letter", 3, solo=True))])
    assert lanes.probes_for_suspects() == [Probe(5, 0, 3), Probe(4, 0, 0)]
    assert opened(lanes) == [1, 2, 3]
    lanes.obey({"reports": ph.QueueSettings(paused=True)})
    lanes.open_at(NOON)
    assert lanes.probes_for_suspects() == [Probe(4, 0, 0)]


def test_levels_are_those_of_lanes_whose_jobs_run_beside_others() -> None:
    lanes = ServedLanes(lambda _: True)
    lanes.add([(1, LOW), (2, Lane("mail", "letter", 7, solo=True)), (3, REPORT)])
    assert (lanes.has_levels, lanes.priorities) == (False, {1: 0, 3: 0})
    lanes.add([(4, HIGH)])
    assert (lanes.has_levels, lanes.priorities) == (True, {1: 0, 3: 0, 4: 10})


def test_settings_are_the_defaults_where_nothing_was_set() -> None:
    lanes = served(mail=ph.QueueSettings(weight=3))
    assert (lanes.settings("mail").weight, lanes.settings("reports").weight) == (3, 1)
