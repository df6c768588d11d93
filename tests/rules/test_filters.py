"""Filters as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.errors import InvalidOption, InvalidTransition
from posthorse.rules.filters import Filter, aims, has_effect, parse_filter, term
from posthorse.rules.job import State
from posthorse.rules.lifecycle import Request


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
        ('kind:"a', "cannot be read from"),
        ('kind:"a"b', "cannot be read from"),
        ("state:failed,", "no state"),
        ("reason:half\ud800", "reason is .* of printable characters"),
        ('error:"a\0b"', "error is .* of printable characters"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_hint(text: str, complaint: str) -> None:
    with pytest.raises(InvalidOption, match=complaint):
        parse_filter(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('kind:say"hi"', 'say"hi"'),
        (r'kind:"say \"hi\""', 'say "hi"'),
        (r'kind:"a\\b\c"', r"a\b\c"),
        (r"kind:a\b", r"a\b"),
        ('kind:"state:failed"', "state:failed"),
        ("kind:it's", "it's"),
    ],
)
def test_any_name_can_be_written(text: str, kind: str) -> None:
    assert parse_filter(f"queue:mail {text} state:failed") == Filter(queue="mail", kind=kind, state=State.FAILED)


@given(st.text(min_size=1).filter(lambda text: text.isprintable() and text == text.strip() and "*" not in text))
def test_every_name_in_quotes_comes_back(name: str) -> None:
    quoted = name[:200].strip().replace("\\", "\\\\").replace('"', '\\"')
    assert parse_filter(f'kind:"{quoted}"') == Filter(kind=name[:200].strip())
    assert parse_filter(term("kind", name[:200].strip())) == Filter(kind=name[:200].strip())


def test_a_term_has_quotes_only_where_it_needs_them() -> None:
    assert term("queue", "mail-2.a") == "queue:mail-2.a"
    assert term("queue", 'say "hi"') == r'queue:"say \"hi\""'


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel", "retry", "discard"])
def test_an_empty_filter_is_no_aim(verb: Request) -> None:
    with pytest.raises(InvalidOption, match=r"the filter is empty.*state:\w+"):
        aims(Filter(), verb)


def test_states_that_a_verb_means_and_those_that_it_cannot_change() -> None:
    kind = Filter(kind="a")
    assert [aim.state for aim in aims(kind, "retry")] == [State.FAILED]
    assert [aim.state for aim in aims(kind, "resume")] == [State.PAUSED, State.PROCESSING]
    assert list(aims(kind, "cancel")) == [kind]
    for verb, state in (("pause", State.PAUSED), ("cancel", State.COMPLETED), ("discard", State.CANCELLED)):
        with pytest.raises(InvalidTransition, match=f"jobs that are {state}"):
            aims(Filter(state=state), verb)  # type: ignore[arg-type]  # one of the verbs


def test_what_was_asked_before_changes_nothing_again() -> None:
    assert has_effect("pause", State.PROCESSING, None)
    assert not has_effect("pause", State.PROCESSING, "pause")
    assert not has_effect("pause", State.PROCESSING, "cancel")
    assert has_effect("cancel", State.PROCESSING, "pause")
    assert has_effect("resume", State.PROCESSING, "pause")
    assert not has_effect("resume", State.PROCESSING, None)
    assert not has_effect("pause", State.PAUSED, None)
