"""Outputs stand where values stand, and the results that fill them are checked like values."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from datetime import date
from uuid import UUID

import pytest
from msgspec import UNSET

from posthorse.errors import InvalidArgument, InvalidCall
from posthorse.rules.arguments.outputs import Filling, Output
from posthorse.rules.arguments.signature import ArgumentsUnfit, InputsUnfit, Signature
from posthorse.rules.partition import NOTHING, value_of

OTHER = "0193-other"


class Context:
    """The stand-in for the class that the worker passes to jobs."""


@dataclasses.dataclass
class Page:
    number: int
    day: date


FETCHED = Output("fetch", "output of step 'fetch' of flow 'monthly'")
RENDERED = Output("render", "output of step 'render' of flow 'monthly'")


def signature(function: Callable[..., object]) -> Signature:
    return Signature(function, kind=function.__name__, context_type=Context)


def bind(pages: list[Page], title: str = "book", *, size: int | None = None) -> None: ...


def gather(*parts: int) -> None: ...


def loose(value, either: str | UUID = "x"):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    ...


def around(function: Callable[..., object], *args: object, **kwargs: object) -> tuple[str, dict[str, Filling]]:
    text, outputs = signature(function).encode_around_outputs(args, kwargs)
    return text, dict(outputs)


def test_a_parameter_that_an_output_fills_is_left_out() -> None:
    assert around(bind, FETCHED, size=3) == ('{"size":3}', {"pages": FETCHED})
    assert around(bind, title=RENDERED, pages=FETCHED) == ("{}", {"pages": FETCHED, "title": RENDERED})


def test_outputs_can_be_listed() -> None:
    assert around(bind, [FETCHED, RENDERED]) == ("{}", {"pages": [FETCHED, RENDERED]})
    assert around(gather, FETCHED, RENDERED) == ("{}", {"parts": [FETCHED, RENDERED]})


def test_the_other_arguments_are_checked() -> None:
    with pytest.raises(InvalidArgument, match=r"bind\(\): argument title must be str; got int 7"):
        around(bind, FETCHED, 7)
    with pytest.raises(InvalidArgument, match="is missing the argument 'pages'"):
        around(bind, title=FETCHED)


@pytest.mark.parametrize("mixed", [[FETCHED, Page(1, date(2026, 1, 1))], [[FETCHED]]])
def test_an_output_inside_of_other_values_is_refused(mixed: list[object]) -> None:
    with pytest.raises(InvalidArgument, match="an output is an argument by itself, or one of a list of outputs"):
        around(bind, mixed)


def test_a_plain_encode_refuses_outputs_whatever_the_annotation_is() -> None:
    for function in (bind, loose):
        with pytest.raises(InvalidArgument):
            signature(function).encode((FETCHED,), {})


@pytest.mark.parametrize(
    "look",
    [
        lambda output: output.pages,
        lambda output: output[0],
        lambda output: list(output),
        lambda output: len(output),
        lambda output: bool(output),
    ],
)
def test_an_output_cannot_be_looked_into(look: Callable[[Output], object]) -> None:
    with pytest.raises(InvalidCall, match="the output of step 'fetch' of flow 'monthly' is not known before"):
        look(FETCHED)


def test_an_output_can_be_shown_and_copied() -> None:
    assert repr(FETCHED) == "<output of step 'fetch' of flow 'monthly'>"
    assert repr(copy.copy(FETCHED)) == repr(FETCHED)


def test_results_fill_what_was_left_out_and_arrive_as_annotated() -> None:
    own = signature(bind)
    text = own.filled_in('{"title":"t"}', {"pages": '[{"number":1,"day":"2026-01-02"}]'})
    assert own.decode(text) == (([Page(1, date(2026, 1, 2))], "t"), {})
    assert signature(gather).decode(signature(gather).filled_in("{}", {"parts": "[1,2]"})) == ((1, 2), {})


def test_a_result_is_plain_data_for_an_annotation_that_leaves_its_form_open() -> None:
    own = signature(loose)
    fetched = json.dumps({"$set": [1], "list": [1.5, None]})
    args, kwargs = own.decode(own.filled_in("{}", {"value": fetched, "either": '"7a"'}))
    assert (args, kwargs) == (({"$set": [1], "list": [1.5, None]}, "7a"), {})


def test_a_value_that_was_stored_is_not_replaced() -> None:
    assert json.loads(signature(gather).filled_in('{"parts":[7]}', {"parts": "[1]"})) == {"parts": [7]}


def test_a_result_of_another_type_is_refused_with_its_place() -> None:
    with pytest.raises(
        InputsUnfit, match=r"results of earlier jobs do not fit bind\(\) as it is now: .*pages\[0\]\.number"
    ):
        signature(bind).filled_in("{}", {"pages": '[{"number":"1","day":"2026-01-02"}]'})
    with pytest.raises(InputsUnfit, match="it does not take the argument 'page'"):
        signature(bind).filled_in("{}", {"page": "1", "pages": "[]"})


def test_one_stored_argument_can_be_read_while_others_are_left_out() -> None:
    own = signature(bind)
    text, _ = own.encode_around_outputs((FETCHED,), {"size": 3})
    with pytest.raises(ArgumentsUnfit):
        own.named(text)
    assert (own.stored_argument(text, "size"), own.stored_argument(text, "title")) == (3, "book")
    assert own.stored_argument(text, "pages") is own.stored_argument(text, "other") is UNSET


def test_a_limit_knows_an_argument_although_others_are_left_out() -> None:
    text, _ = signature(bind).encode_around_outputs((FETCHED,), {"size": 3})
    assert value_of("size", signature(bind), text, "") == 3
    assert value_of("pages", signature(bind), text, "") is NOTHING
