"""One form for equal arguments, in every process: they are the same unique job, the same key, the same gate."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import posthorse as ph
from posthorse.rules.arguments.signature import Signature
from posthorse.rules.gates import gate_name
from posthorse.rules.unique import fingerprint, identity_again, identity_of, remembered
from posthorse.rules.values.kept import decode_kept, encode_kept
from posthorse.rules.values.msgspec_json import encode_in_order

PROGRAM = """
import enum, uuid
from collections.abc import Set
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple, TypedDict
import msgspec, pydantic
from posthorse.rules.arguments.signature import Signature
from posthorse.rules.gates import gate_name
from posthorse.rules.values.kept import encode_kept

class Colour(enum.Enum): RED = 1; GREEN = 2; BLUE = 3; BLACK = 4; WHITE = 5
@dataclass(frozen=True)
class Tag: name: str; weight: int | None
class Pair(NamedTuple): one: frozenset[str]; other: int
class Named(msgspec.Struct, rename="camel", tag=True): some_tags: set[str | None]; when: int
class Listed(msgspec.Struct, array_like=True, tag=True): some_tags: set[str | None]; when: int
class Page(TypedDict): tags: set[frozenset[str]]
@dataclass
class Post: tags: set[Tag]; title: str
class Model(pydantic.BaseModel):
    tags: set[str]; colours: set[Colour]; words: dict[str, set[str | None]]

letters = {"a", "b", "c", None}
def job(
    enums: set[Colour], some: set[str | None], mixed: set[int | str], nested: set[frozenset[str]],
    tuples: frozenset[tuple[str, int | None]], ids: set[uuid.UUID | str], deep: list[dict[str, set[str | None]]],
    tag: set[Tag], pair: Pair, named: Named, listed: Listed, page: Page, post: Post, model: Model,
    either: Set[str | None], prices: set[Decimal | None], *, rest: dict[str, set[str]], words: list[str],
) -> None: ...

tags = {Tag("a", 1), Tag("a", None), Tag("b", 2)}
pairs = {frozenset("ab"), frozenset("cd"), frozenset("ef")}
by_letter = {"z": letters, "a": letters}
arguments = dict(
    enums=set(Colour), some=letters, mixed={1, 2, "b", "c"}, nested=pairs,
    tuples=frozenset({("a", 1), ("a", None), ("b", None)}), ids={uuid.UUID(int=1), "a", "b"}, deep=[by_letter],
    tag=tags, pair=Pair(frozenset("abc"), 1), named=Named(letters, 1), listed=Listed(letters, 1),
    page={"tags": pairs}, post=Post(tags, "t"),
    model=Model(tags=set("abcdef"), colours=set(Colour), words=by_letter), either=letters,
    prices={Decimal(1), Decimal("2.50"), None}, rest={"z": set("abc"), "a": set("def")}, words=["z", "a"],
)
signature = Signature(job, kind="job", context_type=type("Context", (), {}))
text = signature.encode((), arguments)
assert signature.decode(text)[1] == {"rest": arguments["rest"], "words": ["z", "a"]}
back = dict(zip(arguments, signature.decode(text)[0]))
assert all(back[name] == arguments[name] for name in back), back
print(text)
print(gate_name("rate", letters, [letters], set(Colour)))
print(encode_kept({("a", 1): letters, ("b", 2): {frozenset("ab"), frozenset("cd")}}))
"""


def test_sets_of_whatever_cannot_be_compared_are_written_alike_in_every_process() -> None:
    written = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in "12345"
    }
    assert len(written) == 1
    (text,) = written
    # Only sets changed their order; their items are the same.
    assert '"deep":[{"z":' in text
    assert '"words":["z","a"]' in text


LEAF = st.none() | st.integers(0, 9) | st.text(max_size=2)


@given(st.frozensets(LEAF | st.tuples(LEAF, LEAF) | st.frozensets(LEAF, max_size=3), max_size=5))
def test_a_value_in_order_is_the_same_value(value: Any) -> None:  # noqa: ANN401 - any value
    assume(_is_told_by_its_text(value))
    assert _as_sets(msgspec.json.decode(encode_in_order(value)), value) == value
    assert decode_kept(encode_kept(value)) == value


def _is_told_by_its_text(value: Any) -> bool:  # noqa: ANN401 - any value
    """Return whether no two items of a set look alike in JSON, as a tuple and a set do."""
    return len({encode_in_order(item) for item in value}) == len(value)


def _as_sets(stored: Any, value: Any) -> Any:  # noqa: ANN401 - any value
    """Return JSON in the types of the value, whose sets may be in another order."""
    if isinstance(value, tuple):
        return tuple(_as_sets(one, other) for one, other in zip(stored, value, strict=True))
    if isinstance(value, frozenset):
        texts = {encode_in_order(item): item for item in value}
        return frozenset(texts[msgspec.json.encode(item)] for item in stored)
    return stored


def one_number(value: float) -> str:
    def job(price: float, prices: dict[str, list[float]]) -> None: ...

    return Signature(job, kind="job", context_type=type("Context", (), {})).encode((value, {"a": [value, 0.5]}), {})


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (-3, -3.0), (2**53, 2.0**53), (0.0, -0.0), (10**18, 1e18)])
def test_an_int_for_a_float_is_the_same_job(one: float, other: float) -> None:
    texts = one_number(one), one_number(other)
    assert fingerprint(texts[0]) == fingerprint(texts[1]) != fingerprint(one_number(0.25))
    for unique in (ph.Unique(), ph.Unique(by="price"), ph.Unique(by=["prices", "price"])):
        identities = [identity_of(unique, text, (), {}) for text in texts]
        assert identities[0] == identities[1]
        kept = remembered(unique)
        assert kept is not None
        assert identity_again(kept, texts[0]).value == identities[1].value
    assert gate_name("rate", one) == gate_name("rate", other)


def test_numbers_beyond_integers_of_64_bits_are_still_told_apart() -> None:
    assert fingerprint(one_number(1e300)) != fingerprint(one_number(1e301))
    assert fingerprint(one_number(2.0**63)) != fingerprint(one_number(2.0**64))


def test_dicts_whose_keys_are_no_text_are_the_same_in_any_order() -> None:
    def job(prices: dict[tuple[str, int], float]) -> None: ...

    encode = Signature(job, kind="job", context_type=type("Context", (), {})).encode
    one = encode(({("a", 1): 1.0, ("b", 2): 2.5},), {})
    other = encode(({("b", 2): 2.5, ("a", 1): 1},), {})
    assert one != other  # they arrive in their order
    assert fingerprint(one) == fingerprint(other) != fingerprint(encode(({("b", 2): 1.0, ("a", 1): 2.5},), {}))


def test_what_a_function_says_is_compared_in_the_same_form() -> None:
    answers = [{1.0, "b", None}, {None, 1, "b"}]
    identities = {identity_of(ph.Unique(by=lambda answer=answer: answer), "{}", (), {}).value for answer in answers}
    assert len(identities) == 1


def test_a_function_that_is_to_be_awaited_is_refused() -> None:
    async def by(doc_id: int) -> int:
        return doc_id

    with pytest.raises(ph.InvalidOption, match=r"Unique\.by is .*by at.*it must be the name"):
        ph.Unique(by=by)


@pytest.mark.parametrize(
    ("one", "other"), [("1.5", 1.5), ("null", None), ("true", True), ("[1]", [1]), ("1", 1), (0, False)]
)
def test_values_that_differ_have_gates_of_their_own(one: object, other: object) -> None:
    assert gate_name("rate", "kind", "resize", one) != gate_name("rate", "kind", "resize", other)
