"""The pace of a waiting room, in moments that pass at once."""

from __future__ import annotations

import itertools
from random import Random

from posthorse.rules.waiting_pace import APART, FIRST_PAUSE, MAX_APART, MAX_PAUSE, CallerPace, LookPace

MOST_A_SECOND = 12


def looks(entries: list[float], until: float, news: list[float] | None = None) -> list[tuple[float, int]]:
    """Return when a room looks, and at how many callers, if no job ends."""
    pace = LookPace()
    callers: list[CallerPace] = []
    to_come, news = sorted(entries), sorted(news or [])
    now, seen = 0.0, list[tuple[float, int]]()
    while now < until:
        while to_come and to_come[0] <= now:
            callers.append(CallerPace(to_come.pop(0)))
        while news and news[0] <= now:
            pace.has_news = bool(news.pop(0)) or True
        first_due = min((caller.due for caller in callers), default=until)
        due = pace.next_look(first_due, len(callers)) if callers else until
        if due > now:
            now = min([due, until, *to_come[:1], *news[:1]])
            continue
        asked = [caller for caller in callers if pace.has_news or caller.is_due(now)]
        for caller in asked:
            caller.looked(now)
        pace.looked(now, is_found=False)
        seen.append((now, len(asked)))
    return seen


def test_a_caller_alone_is_looked_for_soon_and_then_less_and_less_often() -> None:
    seen = [moment for moment, _ in looks([0.0], 5.0)]
    pauses = [after - before for before, after in itertools.pairwise(seen)]
    assert seen[0] == FIRST_PAUSE
    assert pauses == sorted(pauses)
    assert max(pauses) <= MAX_PAUSE + 1e-9


def test_a_thousand_callers_cost_twelve_looks_a_second_however_they_come() -> None:
    chance = Random(1)
    for entries in ([0.0] * 1000, [number / 100 for number in range(1000)], [chance.random() for _ in range(1000)]):
        seen = looks(entries, 12.0)
        for second in range(1, 12):
            assert sum(1 for moment, _ in seen if second <= moment < second + 1) <= MOST_A_SECOND


def test_a_thousand_callers_cost_no_more_while_everything_is_written_to() -> None:
    seen = looks([0.0] * 1000, 3.0, [number / 1000 for number in range(3000)])
    assert len(seen) <= 3 * MOST_A_SECOND


def test_callers_share_looks() -> None:
    chance = Random(2)
    seen = looks([chance.random() for _ in range(50)], 10.0)
    late = [asked for moment, asked in seen if moment > 5.0]
    assert sum(late) / len(late) > 10


def test_news_is_followed_at_once_after_a_rest_and_less_often_while_it_leads_to_nothing() -> None:
    seen = [moment for moment, _ in looks([0.0], 4.0, [3.0])]
    assert 3.0 in seen
    busy = [moment for moment, _ in looks([0.0], 4.0, [number / 1000 for number in range(4000)])]
    apart = [after - before for before, after in itertools.pairwise(busy) if before > 1.0]
    assert min(apart) >= APART
    assert sum(apart) / len(apart) > MAX_APART / 2


def test_news_after_a_rest_is_followed_at_once_whatever_earlier_news_led_to() -> None:
    early = [number / 1000 for number in range(100)]
    assert 0.5 in [moment for moment, _ in looks([0.0], 1.0, [*early, 0.5])]


def test_news_does_not_make_a_caller_less_eager() -> None:
    caller = CallerPace(0.0)
    caller.looked(0.001)
    assert (caller.pause, caller.due) == (FIRST_PAUSE, FIRST_PAUSE)
