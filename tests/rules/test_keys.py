"""Idempotency keys: which texts may be one, and for how long one counts."""

from __future__ import annotations

from datetime import timedelta

import pytest

import posthorse as ph
from posthorse.rules.keys import MAX_KEY, as_key


@pytest.mark.parametrize("text", ["a", " ", "ü" * MAX_KEY, "\U0001f40e" * MAX_KEY, "line\nline"])
def test_a_key_is_any_text_up_to_its_longest(text: str) -> None:
    assert as_key(text) == ph.Key(text)


@pytest.mark.parametrize("text", ["", "a" * (MAX_KEY + 1), "a\0", "\0", "\ud800", "a\udfffb", b"a", 7, None])
def test_what_no_store_could_keep_is_no_key(text: object) -> None:
    with pytest.raises(ph.InvalidOption, match="key is "):
        as_key(text)


def test_a_key_counts_for_as_long_as_it_says() -> None:
    assert ph.Key("a").span is None
    assert ph.Key("a", ttl="1m").span == ph.Key("a", ttl=timedelta(minutes=1)).span == 60_000_000
    with pytest.raises(ph.InvalidOption, match="longer than zero"):
        ph.Key("a", ttl=0)
