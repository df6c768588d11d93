"""Typed values, and values from files, arrive as they were written: every digit, every key, in the same order."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.cli.exact_values import Typed
from posthorse.errors import InvalidArgument
from tests.cli.conftest import Shop

DIGITS = "1234567890.12345678901234567890"


class Price(pydantic.BaseModel):
    net: Decimal
    rate: float = 0.0
    notes: dict[str, Any] = {}
    parts: list[Annotated[Decimal, "per unit"]] | None = None
    inner: Price | None = None


@dataclass
class Order:
    price: Decimal
    count: int = 1


class Line(NamedTuple):
    price: Decimal
    model: Price


class Mixed(msgspec.Struct):
    model: Price
    anything: Any


@pytest.mark.parametrize(
    ("wanted", "word", "value"),
    [
        (Decimal, "1.10", Decimal("1.10")),
        (Decimal, DIGITS, Decimal(DIGITS)),
        (Decimal, f'"{DIGITS}"', Decimal(DIGITS)),
        (Decimal, "1e-400", Decimal("1e-400")),
        (Decimal, "100", Decimal(100)),
        (Decimal | None, "1.10", Decimal("1.10")),
        (Decimal | None, "null", None),
        (Decimal | str, "1.10", Decimal("1.10")),
        (str | Decimal, "1.10", Decimal("1.10")),
        (str | Decimal, '"1.10"', "1.10"),
        (list[Decimal], "[1.10, 2, 0.30]", [Decimal("1.10"), Decimal(2), Decimal("0.30")]),
        (dict[str, Decimal], '{"b": 1.10, "a": 2.50}', {"b": Decimal("1.10"), "a": Decimal("2.50")}),
        (Order, '{"price": 1.10}', Order(Decimal("1.10"))),
        (Price, '{"net": 1.10, "rate": 0.5}', Price(net=Decimal("1.10"), rate=0.5)),
        (Price, f'{{"net": {DIGITS}}}', Price(net=Decimal(DIGITS))),
        (
            Price,
            '{"net": 1, "parts": [0.10], "inner": {"net": 2.50}, "notes": {"a": 0.1}}',
            Price(net=Decimal(1), parts=[Decimal("0.10")], inner=Price(net=Decimal("2.50")), notes={"a": 0.1}),
        ),
        (list[Price], '[{"net": 1.10}]', [Price(net=Decimal("1.10"))]),
        (Line, '[1.10, {"net": 2.20}]', Line(Decimal("1.10"), Price(net=Decimal("2.20")))),
        (float, "0.1", 0.1),
        (float, "3", 3.0),
        (int, "123456789012345678901234567890", 123456789012345678901234567890),
        (Any, "123456789012345678901234567890", 123456789012345678901234567890),
        (str, "123456789012345678901234567890", "123456789012345678901234567890"),
        (str, "1.10", "1.10"),
        (str, "1e400", "1e400"),
        (str, '{"a": 1, "a": 2}', '{"a": 1, "a": 2}'),
        (str, "007", "007"),
        (Any, "007", "007"),
        (dict[int, str], '{"2": "b", "1": "a"}', {2: "b", 1: "a"}),
        (date, "2026-11-30", date(2026, 11, 30)),
        (datetime, "2026-11-30T08:00:00.123456+01:00", datetime.fromisoformat("2026-11-30T08:00:00.123456+01:00")),
        (timedelta, "PT1.5S", timedelta(seconds=1.5)),
        (UUID, "01936f5e-7c1a-7d2b-8e3f-0123456789ab", UUID("01936f5e-7c1a-7d2b-8e3f-0123456789ab")),
    ],
)
def test_a_word_is_the_value_that_was_written(wanted: object, word: str, value: object) -> None:
    found = Typed(wanted).from_word(word)
    assert (found, repr(found)) == (value, repr(value))


def test_a_place_that_takes_anything_gets_a_float_also_beside_models() -> None:
    found = Typed(Mixed).from_json(b'{"model": {"net": 1.5}, "anything": [0.1]}')
    assert isinstance(found, Mixed)
    assert repr(found.anything) == "[0.1]"
    assert repr(Typed(Price).from_json(b'{"net": 1, "notes": {"a": 0.1}}')) == repr(
        Price(net=Decimal(1), notes={"a": 0.1})
    )


def test_what_no_type_takes_is_left_to_be_refused() -> None:
    assert Typed(int).from_word("1.0") == 1.0
    assert Typed(int).from_word("seven") == "seven"
    assert Typed(Order).from_word('{"price": "much"}') == {"price": "much"}


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '[{"b": {"a": 1, "a": 1}}]'])
def test_a_key_that_stands_twice_is_refused(text: str) -> None:
    for wanted in (Any, dict[str, int]):
        if wanted is Any or text.startswith("{"):
            with pytest.raises(InvalidArgument, match="'a' twice"):
                Typed(wanted).from_word(text)
    with pytest.raises(InvalidArgument, match="'a' twice"):
        Typed(Any).from_json(text.encode())


@pytest.mark.parametrize("word", ["1e400", "[1e400]", "9" * 5000])
def test_a_number_that_python_lacks_is_no_text(word: str) -> None:
    with pytest.raises(InvalidArgument, match="a number beyond those of Python"):
        Typed(Any).from_word(word)


def test_keys_keep_their_order() -> None:
    found = Typed(Any).from_word('{"z": 1, "a": {"y": 1, "b": 2}}')
    assert json.dumps(found) == '{"z": 1, "a": {"y": 1, "b": 2}}'


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_every_decimal_arrives(value: Decimal) -> None:
    assert repr(Typed(Decimal).from_word(str(value))) == repr(value)
    assert repr(Typed(list[Decimal]).from_json(f"[{value}]".encode().replace(b"E+", b"e+"))) == repr([value])


@given(st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=-3, minutes=-30))])))
def test_every_moment_arrives(value: datetime) -> None:
    assert Typed(datetime).from_word(value.isoformat()) == value


def test_digits_are_stored_from_words_files_and_lines(shop: Shop) -> None:
    @shop.app.job
    def pay(amount: Decimal, prices: list[Decimal], model: Price | None = None) -> Decimal:
        return amount

    (shop.folder / "prices.json").write_text("[0.10, 2.50]", encoding="utf-8")
    (shop.folder / "calls.jsonl").write_text(
        f'{{"amount": {DIGITS}, "prices": [0.10, 2.50], "model": {{"net": {DIGITS}}}}}\n[1.10, [0.10, 2.50]]\n',
        encoding="utf-8",
    )
    jobs = [
        shop.done("enqueue", "pay", "1.10", "prices=[0.10, 2.50]"),
        shop.done("enqueue", "pay", DIGITS, "@prices.json", f'model={{"net": {DIGITS}}}'),
        *shop.done("enqueue", "pay", "--from-file", "calls.jsonl").splitlines(),
    ]
    for job, amount in zip(jobs, ("1.10", DIGITS, DIGITS, "1.10"), strict=True):
        stored = json.loads(shop.done("show", job, "--json"))["arguments"]
        assert stored["amount"] == amount
        assert stored["prices"] == ["0.10", "2.50"]
        if "model" in stored:
            assert stored["model"]["net"] == DIGITS
    assert json.loads(shop.done("run", "pay", "1.10", "[]")) == "1.10"


def test_lines_that_say_an_argument_twice_are_refused(shop: Shop) -> None:
    result = shop.run("enqueue", "welcome", "--from-file", "-", input='{"user_id": 1, "user_id": 2}\n')
    assert result.exit_code == 2
    assert "stdin, line 1: the JSON has 'user_id' twice" in result.stderr
