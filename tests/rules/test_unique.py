"""Unique jobs: what makes two jobs the same, written down, checked, and compared."""

from __future__ import annotations

from datetime import timedelta

import pytest

import posthorse as ph
from posthorse.rules.keys import as_key
from posthorse.rules.unique import Remembered, check_names, identity_again, identity_of, remembered


def value(unique: ph.Unique, arguments: str) -> str:
    return identity_of(unique, arguments, (), {}).value


def test_plain_is_held_until_the_job_is_over_and_compares_all_arguments() -> None:
    assert (ph.Unique().rule, ph.Unique().window, ph.Unique().names) == ("finished", None, None)
    assert value(ph.Unique(), '{"a":1,"b":{"c":2,"d":3}}') == value(ph.Unique(), '{"b":{"d":3,"c":2},"a":1}')
    assert value(ph.Unique(), '{"a":1}') != value(ph.Unique(), '{"a":2}')


@pytest.mark.parametrize("span", ["10m", 600, 600.0, timedelta(minutes=10)])
def test_any_form_of_a_duration_is_a_window(span: str | float | timedelta) -> None:
    assert (ph.Unique(until=span).rule, ph.Unique(until=span).window) == ("window", 600_000_000)


def test_named_parameters_alone_are_compared() -> None:
    by_id = ph.Unique(by="doc_id")
    assert value(by_id, '{"doc_id":7,"text":"a"}') == value(ph.Unique(by=["doc_id"]), '{"doc_id":7,"text":"b"}')
    assert value(by_id, '{"doc_id":7}') != value(by_id, '{"doc_id":8}')
    assert value(by_id, '{"doc_id":7}') != value(ph.Unique(by="text"), '{"text":7}')
    both, other_order = ph.Unique(by=("a", "b")), ph.Unique(by=("b", "a"))
    assert value(both, '{"a":1,"b":2}') == value(other_order, '{"b":2,"a":1}') != value(both, '{"a":2,"b":1}')
    assert value(ph.Unique(by="text"), "{}") != value(ph.Unique(by="tenant"), "{}")  # its default was meant
    assert value(ph.Unique(by="tenant"), '{"a":1}') == value(ph.Unique(by="tenant"), '{"a":2}')


def test_list_that_is_changed_later_changes_no_identity() -> None:
    names = ["a"]
    unique = ph.Unique(by=names)
    names.append("b")
    assert unique.names == ("a",)
    assert hash(unique) == hash(ph.Unique(by=("a",)))


def test_function_says_what_is_compared() -> None:
    def host(url: str, *, depth: int = 1) -> tuple[str, int]:
        return url.split("/")[2], depth

    unique = ph.Unique(by=host)
    one = identity_of(unique, "{}", ("https://a.example/x",), {"depth": 2})
    assert one.value == identity_of(unique, "{}", ("https://a.example/y",), {"depth": 2}).value
    assert one.value != identity_of(unique, "{}", ("https://a.example/y",), {}).value
    assert len(identity_of(ph.Unique(by=lambda: "x" * 1_000_000), "{}", (), {}).value) == 40
    with pytest.raises(ph.InvalidArgument, match="has no form in JSON"):
        identity_of(ph.Unique(by=lambda: object()), "{}", (), {})


def test_what_a_job_keeps_gives_its_identity_again() -> None:
    for unique in (ph.Unique(), ph.Unique(by="a"), ph.Unique(until="queued", by=("a", "b"))):
        first = identity_of(unique, '{"a":1,"b":2}', (), {})
        kept = remembered(unique)
        assert kept is not None
        again = identity_again(kept, '{"b":2,"a":1}')
        assert (again.value, again.rule) == (first.value, first.rule)
    assert remembered(ph.Unique(until="1h")) is None
    assert identity_again(Remembered(value="said"), '{"a":9}').value == "said"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"until": "done"}, 'Unique.until is \'done\'; it must be "finished", "queued" or a duration'),
        ({"until": 0}, "duration above zero"),
        ({"until": "-5m"}, "Unique.until is '-5m'"),
        ({"until": None}, "Unique.until is None"),
        ({"until": True}, "Unique.until is True"),
        ({"by": ()}, 'Unique.by is \\(\\); .* "tenant" for none'),
        ({"by": ""}, "Unique.by is ''"),
        ({"by": [1]}, r"Unique.by is \[1\]"),
        ({"by": 7}, "Unique.by is 7"),
        ({"on_conflict": "skip"}, '"return", "replace", "reschedule" or "raise"'),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ph.InvalidOption, match=message):
        ph.Unique(**wrong)  # type: ignore[arg-type]  # that is the point


def test_unknown_names_are_refused_with_the_nearest() -> None:
    check_names(ph.Unique(by=["doc_id", "tenant"]), ["doc_id", "text"], kind="index")
    with pytest.raises(ph.InvalidOption, match="'doc', which is not a parameter of 'index'; did you mean 'doc_id'"):
        check_names(ph.Unique(by="doc"), ["doc_id", "text"], kind="index")
    with pytest.raises(ph.InvalidOption, match="its parameters are: none"):
        check_names(ph.Unique(by="x"), [], kind="index")


def test_key_says_where_and_how_long_it_counts() -> None:
    assert as_key("a") == ph.Key("a")
    assert (ph.Key("a").scope, ph.Key("a").span) == ("kind", None)
    assert ph.Key("a", ttl="24h").span == 86_400_000_000
    with pytest.raises(ph.InvalidOption, match=r"Key\.scope is 'all'; it must be .kind. or .app."):
        ph.Key("a", scope="all")  # type: ignore[arg-type]  # that is the point
    for wrong in (0, "soon", -1):
        with pytest.raises(ph.InvalidOption, match=r"Key\.ttl"):
            ph.Key("a", ttl=wrong)
    with pytest.raises(ph.InvalidOption, match="must be a text of 1 to 512"):
        ph.Key("")
