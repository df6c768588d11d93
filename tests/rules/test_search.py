"""Filters as people write them, as text and as keyword arguments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.errors import InvalidOption, InvalidTransition
from posthorse.rules.job import State
from posthorse.rules.requests import Request
from posthorse.rules.search.aims import aims, has_effect
from posthorse.rules.search.filter import Filter, Term, term
from posthorse.rules.search.keywords import make_filter
from posthorse.rules.search.text import parse_filter
from posthorse.rules.search.words import PATHS, WORDS, How, Item

WHOLE = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", []),
        ("  state:failed   ", [Term("state", (Item(State.FAILED),))]),
        ("state:failed,cancelled", [Term("state", (Item(State.CANCELLED), Item(State.FAILED)))]),
        ("kind:mail*", [Term("kind", (Item("mail", How.BEGINS),))]),
        ("-tag:x", [Term("tag", (Item("x"),), is_not=True)]),
        ("tag:a tag:b", [Term("tag", (Item("a"),)), Term("tag", (Item("b"),))]),
        ("took:>5s", [Term("took", (Item(timedelta(seconds=5), How.ABOVE),))]),
        ("priority:>-5", [Term("priority", (Item(-5, How.ABOVE),))]),
        ("attempt:3", [Term("attempt", (Item(3),))]),
        ("args.user.id:7", [Term("args", (Item("7"),), path="user.id")]),
        ("args.total:>9.5", [Term("args", (Item(9.5, How.ABOVE),), path="total")]),
        ("meta.user.id:7", [Term("meta", (Item("7"),), path="user.id")]),
        ('args.q:"a*"', [Term("args", (Item("a*"),), path="q")]),
        ('args.q:">5"', [Term("args", (Item(">5"),), path="q")]),
        ("since:2026-11-12", [Term("since", (Item(datetime(2026, 11, 12, tzinfo=UTC)),))]),
        ("until:2026-11-12T09:30+01:00", [Term("until", (Item(datetime(2026, 11, 12, 8, 30, tzinfo=UTC)),))]),
        ("since:2h", [Term("since", (Item(timedelta(hours=2)),))]),
        (WHOLE.upper(), [Term("id", (Item(WHOLE),))]),
        ("9f3a7c", [Term("id", (Item("9f3a7c"),))]),
        ("…9F3a7c21", [Term("id", (Item("9f3a7c21"),))]),
        ("facade", [Term("kind", (Item("facade", How.BEGINS),))]),
        ("id:facade", [Term("id", (Item("facade"),))]),
        ("welcome", [Term("kind", (Item("welcome", How.BEGINS),))]),
        ("-welcome*", [Term("kind", (Item("welcome", How.BEGINS),), is_not=True)]),
        ('"send mail"', [Term("kind", (Item("send mail", How.BEGINS),))]),
        ('kind:"say \\"hi\\""*', [Term("kind", (Item('say "hi"', How.BEGINS),))]),
        ('kind:"a,b",c', [Term("kind", (Item("a,b"), Item("c")))]),
        ("kind:>x", [Term("kind", (Item(">x"),))]),
        ('kind:say"hi"', [Term("kind", (Item('say"hi"'),))]),
    ],
)
def test_a_text_is_read(text: str, terms: list[Term]) -> None:
    found = parse_filter(text)
    assert set(found.terms) == set(terms)
    assert parse_filter(str(found)) == found


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("sate:failed", "did you mean 'state'"),
        ("colour:red", "known are id, state"),
        ("state:dead", "states are scheduled"),
        ("failed", "write state:failed"),
        ("kind:a kind:b", "kind twice.*kind:a,b"),
        ("args.a:1 args.a:2", "args.a twice"),
        ("kind:", "nothing behind"),
        ("kind:a,", "nothing behind"),
        ("kind:a -", "cannot be read from '-'"),
        ('kind:""', "nothing behind"),
        ("older:soon", "older:"),
        ('kind:"a', "cannot be read from"),
        ('kind:"a"b', "cannot be read from"),
        ("kind:a*b", "without `\\*`"),
        ("state:fail*", "does not take a beginning"),
        ("age:2h", "age:>2h or age:<2h"),
        ("attempt:many", "attempt:3 or attempt:>3"),
        ("args.n:>x", "not a number"),
        ("args.n:>5*", "both > and \\*"),
        ("args:7", "args.NAME:value"),
        ("meta:7", "entry of the metadata; write meta.NAME:value"),
        ("meta.n:>x", "not a number"),
        ("args.a..b:7", "not the path of an argument"),
        ("since:2026-13-40", "not a date or time"),
        ("id:9f3a", "6 characters"),
        ("parent:xyz", "not a job id"),
        ("cause:xyz", "not the fingerprint of a group of errors; it has 16 characters"),
        ("reason:half\ud800", "reason is .* of printable characters"),
        ('error:"a\0b"', "error is .* of printable characters"),
        ("tag:" + ",".join("a" * n for n in range(1, 102)), "more than 100 values"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_hint(text: str, complaint: str) -> None:
    with pytest.raises(InvalidOption, match=complaint):
        parse_filter(text)


def test_keyword_arguments_and_text_are_one_language() -> None:
    made = make_filter(
        "-tag:x",
        {
            "kind": "mail*",
            "state": [State.FAILED, "cancelled"],
            "age": [">2h", "<3d"],
            "older": timedelta(days=1),
            "attempt": 2,
            "args": {"user.id": 7, "is_test": False},
            "queue": None,
        },
    )
    text = (
        "-tag:x kind:mail* state:failed,cancelled age:>2h age:<3d older:1d attempt:2 args.user.id:7 args.is_test:false"
    )
    assert made == parse_filter(text)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"kinds": "a"}, "did you mean 'kind'"),
        ({"kind": []}, "empty list"),
        ({"kind": 7}, "kind is 7"),
        ({"kind": ""}, "nothing behind"),
        ({"args": "user.id"}, "give a dict"),
        ({"meta": "user.id"}, "give a dict"),
        ({"since": datetime(2026, 11, 12)}, "no time zone"),  # noqa: DTZ001  # it is the point
        ({"age": "2h"}, "age:>2h or age:<2h"),
        ({"attempt": True}, "attempt is True"),
    ],
)
def test_a_wrong_keyword_argument_is_refused(words: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidOption, match=complaint):
        make_filter("", words)


# ── round trip ───────────────────────────────────────────────────────────────────────────────────────

lines = st.text(min_size=1, max_size=40).filter(str.isprintable)
names = lines.map(str.strip).filter(lambda text: text and "*" not in text)
spans = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=36_500))
moments = st.datetimes(timezones=st.just(UTC)).filter(lambda moment: 1970 < moment.year < 9000)
VALUES: dict[str, st.SearchStrategy[object]] = {
    "id": st.from_regex(r"[0-9a-f]{6,12}", fullmatch=True),
    "parent": st.just(WHOLE),
    "cause": st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
    "state": st.sampled_from(State),
    "priority": st.integers(-100, 100),
    "attempt": st.integers(1, 1000),
    "since": st.one_of(spans, moments, st.just(WHOLE)),
    "until": st.one_of(spans, moments),
    **dict.fromkeys(("age", "older", "newer", "took", "waited"), spans),
    **dict.fromkeys(("kind", "queue", "tenant", "tag"), names),
    **dict.fromkeys(("error", "reason", "schedule"), lines),
}


@st.composite
def made_terms(draw: st.DrawFn) -> Term:
    word = draw(st.sampled_from(list(WORDS)))
    path = draw(st.from_regex(r"[\w-]{1,9}(\.[\w-]{1,9})?", fullmatch=True)) if word in PATHS else ""

    def item() -> Item:
        how = draw(st.sampled_from([how for how in WORDS[word].takes if how or not WORDS[word].needs_comparison]))
        if word in PATHS:
            numeric = how in (How.ABOVE, How.BELOW)
            return Item(draw(st.integers(-(10**6), 10**6)) / 4 if numeric else draw(lines), how)
        return Item(draw(VALUES[word]), how)  # type: ignore[arg-type]  # of the word

    return Term(word, tuple(item() for _ in range(draw(st.integers(1, 3)))), is_not=draw(st.booleans()), path=path)


@given(st.lists(made_terms(), max_size=6, unique_by=lambda term: term.name))
def test_every_filter_comes_back_from_its_text(terms: list[Term]) -> None:
    made = Filter.of(terms)
    assert parse_filter(str(made)) == made
    assert Filter.of(terms[::-1]) == made


@given(names)
def test_every_name_written_as_a_term_comes_back(name: str) -> None:
    assert parse_filter(term("kind", name)).terms == (Term("kind", (Item(name),)),)


def test_a_term_has_quotes_only_where_it_needs_them() -> None:
    assert term("queue", "mail-2.a") == "queue:mail-2.a"
    assert term("queue", 'say "hi"') == r'queue:"say \"hi\""'
    assert term("queue", "a,b") == 'queue:"a,b"'


def test_the_example_of_each_word_is_a_filter_of_that_word() -> None:
    for word, taken in WORDS.items():
        assert [term.word for term in parse_filter(taken.example).terms] == [word]


# ── verbs ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel", "retry", "discard"])
def test_an_empty_filter_is_no_aim(verb: Request) -> None:
    with pytest.raises(InvalidOption, match=r"the filter is empty.*state:\w+"):
        aims(Filter(), verb)


def test_states_that_a_verb_means_and_those_that_it_cannot_change() -> None:
    kind = parse_filter("kind:a")
    assert [aim.states for aim in aims(kind, "retry")] == [(State.FAILED,)]
    assert [aim.states for aim in aims(kind, "resume")] == [(State.PAUSED,), (State.PROCESSING,)]
    assert {aim.states[0] for aim in aims(kind, "cancel")} == {*State} - {
        State.COMPLETED,
        State.FAILED,
        State.CANCELLED,
    }
    assert aims(kind, "pause")[0].states == (State.PROCESSING,), (
        "running jobs are asked before they may be parked again"
    )
    both = parse_filter("state:failed,cancelled kind:a")
    assert [aim.states for aim in aims(both, "retry")] == [(State.CANCELLED,), (State.FAILED,)]
    for verb, state in (("pause", "paused"), ("cancel", "completed"), ("discard", "cancelled")):
        with pytest.raises(InvalidTransition, match=f"jobs that are {state}"):
            aims(parse_filter(f"state:{state}"), verb)  # type: ignore[arg-type]  # one of the verbs


def test_what_was_asked_before_changes_nothing_again() -> None:
    assert has_effect("pause", State.PROCESSING, None)
    assert not has_effect("pause", State.PROCESSING, "pause")
    assert not has_effect("pause", State.PROCESSING, "cancel")
    assert has_effect("cancel", State.PROCESSING, "pause")
    assert has_effect("resume", State.PROCESSING, "pause")
    assert not has_effect("resume", State.PROCESSING, None)
    assert not has_effect("pause", State.PAUSED, None)
