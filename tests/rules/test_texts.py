"""Texts of users as they are stored: whatever comes in, any store accepts what comes out, and it is not long."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.rules.job import JobError
from posthorse.rules.outcomes import Crashed, Lost, Outcome, Raised, Snoozed, Unfit
from posthorse.rules.values.texts import is_one_line, one_line, storable

ANY_TEXT = st.text(st.characters(), max_size=60) | st.text(st.sampled_from("\0\ud800\n\x1b[é…a"), max_size=60)


@given(ANY_TEXT, st.integers(5, 40))
def test_text_that_is_kept_can_be_stored_and_is_not_long_and_is_kept_the_same_again(text: str, longest: int) -> None:
    for keep, most in ((storable, longest + 1), (one_line, longest)):
        kept = keep(text, longest)
        kept.encode()
        assert "\0" not in kept
        assert len(kept) <= most
        assert keep(kept, longest) == kept
    assert one_line(text, longest).isprintable()


@given(ANY_TEXT)
def test_text_that_any_store_takes_is_kept_as_it_is(text: str) -> None:
    if not set(text) & set("\0\ud800"):
        try:
            text.encode()
        except UnicodeEncodeError:
            return
        assert storable(text, 100) == text


def test_the_end_of_a_long_message_is_kept_and_the_beginning_of_a_long_line() -> None:
    assert storable("ab" * 50, 4) == "…abab"
    assert one_line("one\n two\tthree", 9) == "one two …"
    assert one_line("\x1b[31mred\u202e", 40) == r"\x1b[31mred\u202e"


@pytest.mark.parametrize("longest", [200, 500, 4_000])
def test_every_outcome_holds_such_texts_wherever_it_is_made(longest: int) -> None:
    text = "half of a \ud800, a \0, a\nline " + "x" * 20_000_000 * (longest == 200)
    error = JobError(text, text, text)
    outcomes: list[Outcome] = [
        Raised(error, gives_up=text),
        Snoozed(1, text),
        Lost(text),
        Crashed(text, alone=True),
        Unfit(text),
    ]
    for outcome in outcomes:
        encoded = msgspec.json.encode(outcome)
        assert len(encoded) < 100_000
        assert msgspec.json.decode(encoded, type=type(outcome)) == outcome
    assert len(error.type) <= 200
    assert "\n" not in error.type


@given(st.text(st.sampled_from("a  \t\n\xa0\x1b\u2028…"), max_size=6), st.integers(0, 8))
def test_a_line_is_one_that_stays_as_it_is(text: str, longest: int) -> None:
    words = " ".join(text.split())
    assert is_one_line(text, longest) == (text == words and words.isprintable() and len(words) <= longest)
