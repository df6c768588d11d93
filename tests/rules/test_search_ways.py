"""The way of each filter, and the rest that must be judged."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from posthorse import ids
from posthorse.clock import micros_of
from posthorse.rules.search.filter import Term
from posthorse.rules.search.text import parse_filter
from posthorse.rules.search.ways import FIRST_ID, LAST_ID, IdRange, Plan, Way, beginning_with, fits_lane, plan, range_of

WHOLE = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"
NOW = 1_794_472_200_000_000


def written(terms: tuple[Term, ...]) -> str:
    return " ".join(map(str, terms))


@pytest.mark.parametrize(
    ("text", "way", "rest"),
    [
        ("", Way.SEARCH, ""),
        (WHOLE, Way.ID, ""),
        (f"id:{WHOLE} state:failed kind:a", Way.ID, "state:failed kind:a"),
        (f"-id:{WHOLE}", Way.SEARCH, f"-id:{WHOLE}"),
        ("9f3a7c21", Way.SEARCH, "id:9f3a7c21"),
        ("state:processing", Way.RUNNING, ""),
        ("state:processing kind:a since:2h", Way.RUNNING, "kind:a"),
        ("state:pending", Way.READY, ""),
        ("state:pending kind:a* -queue:b tag:x", Way.READY, "tag:x"),
        ("state:pending since:2h", Way.READY, "since:2h"),
        ("state:scheduled", Way.PARKED, ""),
        ("state:blocked tenant:a", Way.PARKED, "tenant:a"),
        ("state:paused kind:a", Way.PARKED, "kind:a"),
        ("state:failed", Way.PARKED, ""),
        ("state:failed -kind:a error:X since:2h", Way.PARKED, "-kind:a since:2h error:X"),
        ("state:failed kind:a -queue:b error:X since:2h", Way.DEAD, "since:2h error:X"),
        ("cause:9f3a7c21d04be6f8", Way.CAUSE, ""),
        ("cause:9f3a7c21d04be6f8,0123456789abcdef state:failed kind:a since:2h", Way.CAUSE, "kind:a"),
        ("cause:9f3a7c21d04be6f8 state:paused", Way.PARKED, "cause:9f3a7c21d04be6f8"),
        ("cause:9f3a7c21d04be6f8 state:failed,paused", Way.SEARCH, "state:failed,paused cause:9f3a7c21d04be6f8"),
        ("-cause:9f3a7c21d04be6f8 state:failed", Way.PARKED, "-cause:9f3a7c21d04be6f8"),
        ("state:completed", Way.SEARCH, "state:completed"),
        ("state:failed,cancelled", Way.SEARCH, "state:cancelled,failed"),
        ("-state:failed", Way.SEARCH, "-state:failed"),
        ("state:completed kind:a", Way.LANE, "state:completed"),
        ("kind:a", Way.LANE, ""),
        ("kind:a,b*", Way.LANE, ""),
        ("a", Way.LANE, ""),
        ("queue:a -kind:b priority:>0", Way.LANE, ""),
        ("-queue:a", Way.SEARCH, "-queue:a"),
        ("kind:a since:2h until:1h", Way.LANE, ""),
        ("kind:a -since:2h", Way.LANE, "-since:2h"),
        ("tenant:a", Way.TENANT, ""),
        ("tenant:a,b kind:c age:>1h", Way.TENANT, "kind:c"),
        ("tenant:a*", Way.SEARCH, "tenant:a*"),
        ("-tenant:a", Way.SEARCH, "-tenant:a"),
        ("since:2h", Way.TIME, ""),
        ("age:<2h tag:x", Way.TIME, "tag:x"),
        ("until:2h", Way.SEARCH, ""),
        ("age:>2h", Way.SEARCH, ""),
        ("age:>1h,>2h", Way.SEARCH, "age:>1h,>2h"),
        ("older:7d newer:30d", Way.SEARCH, "older:7d newer:30d"),
        ("tag:x", Way.SEARCH, "tag:x"),
        ("args.user.id:7", Way.SEARCH, "args.user.id:7"),
        ("took:>5s waited:>1m attempt:>1", Way.SEARCH, "took:>5s waited:>1m attempt:>1"),
        ("error:X", Way.SEARCH, "error:X"),
        ("schedule:nightly", Way.SEARCH, "schedule:nightly"),
        (f"parent:{WHOLE}", Way.SEARCH, f"parent:{WHOLE}"),
    ],
)
def test_each_filter_has_its_way_and_rest(text: str, way: Way, rest: str) -> None:
    found = plan(parse_filter(text))
    assert (found.way, written(found.rest)) == (way, rest)


def test_every_term_is_in_the_way_or_in_the_rest() -> None:
    wanted = parse_filter("queue:a -kind:b priority:>0 since:2h until:1h tag:x state:completed,cancelled")
    found = plan(wanted)
    assert {*found.lane_terms, *found.range_terms, *found.rest} == set(wanted.terms)
    assert plan(parse_filter("tenant:a,b")).tenants == ("a", "b")
    assert plan(parse_filter(f"id:{WHOLE}")) == Plan(Way.ID, ids=(WHOLE,))


def test_times_are_ranges_of_ids() -> None:
    def range_for(text: str) -> tuple[float | None, float | None]:
        found = range_of(plan(parse_filter(text)).range_terms, NOW)
        after = None if found.after == FIRST_ID else ids.milliseconds_of(found.after) * 1000 - NOW
        before = None if found.before == LAST_ID else ids.milliseconds_of(found.before) * 1000 - NOW
        return after, before

    hour = 3600 * 1_000_000
    assert range_for("since:2h until:1h") == (-2 * hour, -hour)
    assert range_for("age:<2h age:>1h since:3h") == (-2 * hour, -hour)
    assert range_for("kind:a") == (None, None)


def test_an_id_of_the_moment_is_inside_of_since_and_outside_of_until() -> None:
    moment = datetime(2026, 11, 12, 8, 30, tzinfo=UTC)
    made = ids.moved_to(ids.new_id(), micros_of(moment))
    since = range_of(parse_filter("since:2026-11-12T08:30").terms, NOW)
    until = range_of(parse_filter("until:2026-11-12T08:30").terms, NOW)
    assert since.after < made < since.before
    assert not until.after < made < until.before


def test_a_range_may_begin_or_end_at_a_job() -> None:
    since = range_of(parse_filter(f"since:{WHOLE}").terms, NOW)
    until = range_of(parse_filter(f"until:{WHOLE}").terms, NOW)
    assert since.after == WHOLE[:-1] + "a"
    assert until.before == WHOLE


def test_the_ids_that_begin_with_a_text_are_a_range() -> None:
    found = beginning_with(WHOLE[:11])
    assert found is not None
    assert (found.after, found.before) == (
        "01936f5e-7b" + "ff-ffff-ffff-ffffffffffff",
        "01936f5e-7d" + "00-0000-0000-000000000000",
    )
    assert found.last(oldest_first=False) == "01936f5e-7c00-0000-0000-000000000000"
    assert found.last(oldest_first=True) == "01936f5e-7cff-ffff-ffff-ffffffffffff"
    assert beginning_with(WHOLE[9:]) is None
    assert beginning_with("0" * 8) == IdRange(FIRST_ID, "00000001-0000-0000-0000-000000000000")
    assert beginning_with("f" * 8) == IdRange("fffffffe-ffff-ffff-ffff-ffffffffffff", LAST_ID)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("kind:mail", True),
        ("kind:ma*", True),
        ("kind:a,mail", True),
        ("kind:m", False),
        ("-kind:mail", False),
        ("kind:m* -queue:other", True),
        ("queue:other,default priority:>0", True),
        ("priority:>5", False),
        ("priority:>4 priority:<6", True),
        ("priority:5", True),
    ],
)
def test_lanes_are_chosen_by_their_names(text: str, *, fits: bool) -> None:
    assert fits_lane(parse_filter(text).terms, queue="default", kind="mail", priority=5) is fits
