"""Fair share in a runner: whether it is needed; what is kept of many lanes equals what a new look would find."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

import posthorse as ph
from posthorse.rules.fair_share import Line
from posthorse.rules.job import Lane
from posthorse.store.operations.claim import Claimed, Probe
from posthorse.worker.claiming.ageing import Ageing
from posthorse.worker.claiming.fair_share import FairShare
from posthorse.worker.claiming.served_lanes import ServedLanes

MAIL, REPORT = Lane("mail", "letter", 0), Lane("reports", "letter", 0)


def fair_share(*lanes: Lane, **queues: ph.QueueSettings) -> tuple[FairShare, Ageing]:
    served = ServedLanes(lambda _: True)
    served.add(enumerate(lanes, start=1))
    served.obey(queues)
    ageing = Ageing(served)
    shares = FairShare(served, ageing)
    shares.arrange()
    return shares, ageing


def claimed(lane: int) -> Claimed:
    return Claimed("job", 1, lane, 1, 0, 0, 0, "{}", None, None)


def test_turns_are_needed_only_where_a_served_queue_asks_for_them() -> None:
    def is_needed(**queues: ph.QueueSettings) -> bool:
        return fair_share(MAIL, REPORT, **queues)[0].is_needed

    assert not is_needed(mail=ph.QueueSettings(max_depth=3), strange=ph.QueueSettings(weight=9))
    assert is_needed(mail=ph.QueueSettings(weight=2))
    assert is_needed(mail=ph.QueueSettings(order="lifo"))
    assert fair_share(Lane("mail", "letter", tenant="acme"))[0].is_needed


def test_a_lane_is_the_line_of_its_tenant_where_tenants_share() -> None:
    of_acme = Lane("mail", "letter", tenant="acme")
    shares, _ = fair_share(of_acme, REPORT, reports=ph.QueueSettings(order="lifo", weight=3))
    turns = shares.turns([Probe(1, 0, 0), Probe(2, 7, 5)])
    assert turns.lines == {1: Line("mail", 0, tenant="acme"), 2: Line("reports", 5, is_newest_first=True)}
    assert turns.weights == {"mail": 1, "reports": 3}


def test_those_who_had_their_turn_come_after_those_who_had_none() -> None:
    shares, _ = fair_share(MAIL, REPORT, mail=ph.QueueSettings(weight=2))
    lines = shares.turns([Probe(1, 0, 0), Probe(2, 0, 0)]).lines
    assert shares.next_lanes([1, 2], 1, is_lasting=False) == ([1], False)
    shares.note([claimed(1)], lines, {1, 2})
    assert shares.next_lanes([1, 2], 1, is_lasting=False) == ([2], False)
    assert shares.next_lanes([1, 2], 2, is_lasting=False) == ([2, 1], True)


def test_those_who_were_left_out_are_not_put_behind_by_who_comes_back() -> None:
    shares, _ = fair_share(*(Lane("mail", "letter", tenant=name) for name in "abc"))
    first, _ = shares.next_lanes([1, 2], 1, is_lasting=False)
    shares.note([claimed(number) for number in first for _ in range(5)], shares.turns([Probe(1, 0, 0)]).lines, {1})
    assert shares.next_lanes([1, 2, 3], 3, is_lasting=False)[0] == [2, 3, 1]


TENANTS = [
    Lane(queue, "letter", priority, tenant=tenant)
    for queue in ("mail", "reports")
    for priority in (0, 1)
    for tenant in ("a", "b", "")
]


SOME = st.sets(st.integers(1, len(TENANTS)), min_size=1)


@given(st.lists(st.tuples(SOME, SOME, st.booleans(), st.integers(1, len(TENANTS))), min_size=2, max_size=8))
def test_what_is_kept_of_the_lanes_says_what_a_new_look_would(
    rounds: list[tuple[set[int], set[int], bool, int]],
) -> None:
    kept, ageing = fair_share(*TENANTS, mail=ph.QueueSettings(weight=3))
    lanes = list(range(1, len(TENANTS) + 1))
    for emptied, old, any_is_old, room in rounds:
        anew = kept.next_lanes(lanes, room, is_lasting=False)
        assert kept.next_lanes(lanes, room, is_lasting=True) == anew
        ageing.learn(dict.fromkeys(old & set(lanes), 90_000_000) if any_is_old else {})
        lanes = [number for number in lanes if number not in emptied]
        kept.forget(emptied)
