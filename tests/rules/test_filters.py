"""Filters as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from posthorse.errors import InvalidOption
from posthorse.rules.filters import Filter, parse_filter
from posthorse.rules.job import State


def test_words_in_any_order_with_quotes_where_needed() -> None:
    assert parse_filter('  older:7d state:failed  reason:"gave up: no" kind:welcome ') == Filter(
        state=State.FAILED, kind="welcome", reason="gave up: no", older=timedelta(days=7)
    )
    assert parse_filter("queue:mail tag:a:b tenant:acme error:shop.Late newer:90s") == Filter(
        queue="mail", tag="a:b", tenant="acme", error="shop.Late", newer=timedelta(seconds=90)
    )
    assert parse_filter("") == Filter()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("sate:failed", "did you mean 'state'"),
        ("colour:red", "known are state, kind"),
        ("state:dead", "states are scheduled"),
        ("failed", "cannot be read from 'failed'"),
        ("kind:a kind:b", "kind twice"),
        ("kind:", "nothing behind"),
        ("older:soon", "older:"),
        ('kind:"a', "kind"),
        ("state:failed,", "no state"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_hint(text: str, complaint: str) -> None:
    if text == 'kind:"a':
        assert parse_filter(text) == Filter(kind="a")
        return
    with pytest.raises(InvalidOption, match=complaint):
        parse_filter(text)
