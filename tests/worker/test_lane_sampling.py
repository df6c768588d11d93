"""Lane sampling: which of many lanes are read, and when all of them are looked into again."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from posthorse.worker.claiming.lane_sampling import FEW, FRESH_FOR, LOOK_SHARE, LaneSample

HEADS = {7: 30, 9: 10, 8: 20, 5: 40}
PRIORITIES = {5: 1, 7: 0, 8: 0, 9: 0}


def sample(heads: Mapping[int, int] = HEADS, *, now: float = 10.0, seconds: float = 0.1) -> LaneSample:
    made = LaneSample()
    assert made.has_to_look(now)
    made.learn(heads, {number: PRIORITIES.get(number, 0) for number in heads}, now=now, seconds=seconds)
    assert not made.has_to_look(now)
    return made


def ask(lanes: LaneSample, room: int, *, gave: Collection[int], is_exhausted: bool = False) -> list[int]:
    asked = list(lanes.ask(iter(lanes), room))
    lanes.note(frozenset(gave), is_good=2 * len(gave) >= room, is_exhausted=is_exhausted)
    return asked


def test_lanes_come_by_priority_and_then_by_the_age_of_their_heads() -> None:
    assert list(sample()) == [5, 9, 8, 7]
    assert [sample().place(lane) for lane in (5, 9)] == [40, 10]


def test_no_more_lanes_are_asked_than_jobs_are_wanted_and_it_is_known_when_some_are_left_out() -> None:
    lanes = sample()
    assert lanes.ask(iter(lanes), 3) == [5, 9, 8]
    assert lanes.is_partial
    assert lanes.ask(iter(lanes), 4) == [5, 9, 8, 7]
    assert not lanes.is_partial


def test_after_a_claim_others_may_have_come_to_lanes_that_are_not_in_the_sample() -> None:
    lanes = sample()
    ask(lanes, 9, gave=[9])
    lanes.ask(iter(lanes), 9)
    assert lanes.is_partial


def test_a_lane_that_gave_jobs_is_asked_after_the_others_of_its_priority() -> None:
    lanes = sample()
    ask(lanes, 2, gave=[5, 9])
    assert list(lanes) == [5, 8, 7, 9]
    assert lanes.place(9) > lanes.place(7)


def test_a_lane_that_gave_nothing_leaves_the_sample_if_all_that_there_was_could_be_claimed() -> None:
    lanes = sample()
    ask(lanes, 4, gave=[9])
    assert set(lanes) == {5, 7, 8, 9}  # a gate or a turn may have kept their jobs back
    ask(lanes, 4, gave=[9], is_exhausted=True)
    assert list(lanes) == [9]
    ask(lanes, 4, gave=[])
    assert list(lanes) == []
    assert lanes.has_to_look(10.1)


def test_a_sample_of_which_nothing_may_be_asked_is_given_up() -> None:
    lanes = sample()
    lanes.ask([], 3)
    assert sorted(lanes.note(frozenset(), is_good=False, is_exhausted=False)) == [5, 7, 8, 9]
    assert lanes.has_to_look(10.1)


def test_all_lanes_are_looked_into_at_a_pace_that_the_look_sets() -> None:
    lanes = sample(seconds=0.05)
    assert not lanes.has_to_look(10.0 + LOOK_SHARE * 0.05 - 0.01)
    assert lanes.has_to_look(10.0 + LOOK_SHARE * 0.05 + 0.01)


def test_many_lanes_that_all_gave_jobs_are_asked_again_for_a_while_and_only_while_they_give_well() -> None:
    heads = dict.fromkeys(range(1, FEW + 2), 1)
    lanes = sample(heads)
    ask(lanes, len(heads), gave=heads)
    assert not lanes.has_to_look(10.1)
    assert lanes.has_to_look(10.0 + FRESH_FOR)
    ask(lanes, len(heads), gave=[1, 2])
    assert lanes.has_to_look(10.1)


def test_a_few_lanes_that_all_gave_jobs_are_asked_again_however_badly_they_give() -> None:
    lanes = sample()
    ask(lanes, 4, gave=HEADS)
    ask(lanes, 4, gave=[9])
    assert not lanes.has_to_look(10.1)
