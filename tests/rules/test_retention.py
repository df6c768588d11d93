"""Retention: nothing leaves before its time, the nearest declaration counts, and a shorter retention gives notice."""

from __future__ import annotations

import math
import pickle
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.errors import InvalidOption
from posthorse.rules.job import State
from posthorse.rules.retention import (
    ENDINGS,
    NOTICE,
    Declaration,
    Keep,
    Live,
    Retention,
    as_keep,
    declare,
    may_go,
    result_may_go,
    terms_of,
)

DAY = 24 * 3600 * 1_000_000
NOW = 1_000 * DAY

spans = st.one_of(st.none(), st.just("forever"), st.sampled_from(["1h", "1d", "30d", 90.0]))
keeps = st.builds(Keep, completed=spans, failed=spans, cancelled=spans, results=spans)
declarations = st.one_of(st.none(), keeps.map(lambda keep: Declaration(keep.as_words())))


def test_one_duration_is_for_completed_and_cancelled_jobs() -> None:
    assert as_keep("7d") == Keep(completed="7d", cancelled="7d")
    assert as_keep(timedelta(days=7)).micros("completed") == 7 * DAY
    assert as_keep("forever").micros("cancelled") == math.inf
    assert as_keep({"failed": "2d", "results": 60}).as_words() == {"failed": "2d", "results": "1m"}
    assert as_keep("failed=2d, results=1m") == Keep(failed="2d", results="1m")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("soon", "is not a duration"),
        (-1, "between 0 and 100 years"),
        (True, "give seconds"),
        ({"fail": "1d"}, "did you mean 'failed'"),
        ("failed=soon", "keep.failed is 'soon'"),
        ({"completed": "for ever"}, 'keep.completed is .*"forever" keeps them'),
        (None, "give seconds"),
    ],
)
def test_what_is_not_a_span_is_refused(value: object, said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        as_keep(value)


@given(keep=keeps)
def test_a_keep_is_the_same_after_it_was_stored(keep: Keep) -> None:
    again = as_keep(keep.as_words())
    assert [again.micros(ending) for ending in ENDINGS] == [keep.micros(ending) for ending in ENDINGS]
    assert str(keep) == "" or as_keep(str(keep)).as_words() == keep.as_words()
    assert pickle.loads(pickle.dumps(keep)) == keep


@given(kind=keeps, queue=keeps, application=keeps)
def test_for_each_ending_the_nearest_declaration_counts(kind: Keep, queue: Keep, application: Keep) -> None:
    terms = terms_of(kind, queue, application)
    for position, ending in enumerate(ENDINGS):
        said = [span for layer in (kind, queue, application) if (span := layer.micros(ending)) is not None]
        assert terms[position] == (said[0] if said else math.inf)


@given(
    state=st.sampled_from(list(State)),
    age=st.one_of(st.none(), st.integers(-DAY, 100 * DAY)),
    keep=keeps,
)
def test_only_jobs_that_are_over_and_old_enough_may_go(state: State, age: int | None, keep: Keep) -> None:
    terms = terms_of(keep)
    finished_at = None if age is None else NOW - age
    gone = may_go(state, finished_at, terms, NOW)
    if not state.is_final or age is None:
        assert not gone
    else:
        span = keep.micros(state.value)  # type: ignore[arg-type]  # the final states are endings
        assert gone is (span is not None and age > span)
    if result_may_go(state, finished_at, terms, NOW):
        assert state is State.COMPLETED
        assert age is not None
        assert age > terms.results


def test_the_first_declaration_gives_notice_because_old_jobs_may_wait_to_be_removed() -> None:
    first = declare(None, as_keep("30d"), NOW)
    assert first.at(NOW + NOTICE - 1) == Keep()
    assert first.at(NOW + NOTICE).micros("completed") == 30 * DAY


@given(before=keeps, after=keeps, later=st.integers(0, 2 * NOTICE))
def test_nothing_leaves_earlier_than_before_within_the_notice(before: Keep, after: Keep, later: int) -> None:
    stored = Declaration(before.as_words())
    changed = declare(stored, after, NOW)
    for ending in ENDINGS:
        earlier, said = before.micros(ending), changed.at(NOW + min(later, NOTICE - 1)).micros(ending)
        assert said == earlier or (said is not None and earlier is not None and said > earlier)
        assert changed.at(NOW + NOTICE).micros(ending) == after.micros(ending)
    assert declare(changed, after, NOW + later) is changed  # declared again, the notice does not start over


@given(kind=declarations, queue=declarations, application=declarations, live=keeps, changed=st.integers(-NOTICE, 0))
def test_a_live_retention_that_is_longer_applies_at_once_and_a_shorter_one_after_the_notice(
    kind: Declaration | None, queue: Declaration | None, application: Declaration | None, live: Keep, changed: int
) -> None:
    kinds, queues = ({"k": kind} if kind else {}), ({"q": queue} if queue else {})
    before = Retention(application, kinds, queues).terms("k", "q", NOW)
    retention = Retention(application, kinds, queues, {"q": Live(live, NOW + changed)})
    during, after = retention.terms("k", "q", NOW), retention.terms("k", "q", NOW + changed + NOTICE)
    assert after == terms_of(kind.at(NOW) if kind else None, live, application.at(NOW) if application else None)
    if changed > -NOTICE:
        assert all(now >= then for now, then in zip(during, before, strict=True))
    assert retention.terms("other", "elsewhere", NOW) == Retention(application).terms("other", "elsewhere", NOW)


@given(kind=declarations, queue=declarations, application=declarations, live=st.one_of(st.none(), keeps))
def test_no_job_goes_that_is_younger_than_the_shortest_span(
    kind: Declaration | None, queue: Declaration | None, application: Declaration | None, live: Keep | None
) -> None:
    set_by_users = {"q": Live(live, NOW - NOTICE)} if live else {}
    retention = Retention(application, {"k": kind} if kind else {}, {"q": queue} if queue else {}, set_by_users)
    assert retention.shortest(NOW) <= min(retention.terms("k", "q", NOW))


def test_without_any_declaration_jobs_stay_for_ever() -> None:
    assert set(Retention().terms("k", "q", NOW)) == {math.inf}
    assert Retention().shortest(NOW) == math.inf
