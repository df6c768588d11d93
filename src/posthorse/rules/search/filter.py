"""The filter: conditions on jobs, and how they are written. A text and its filter are equal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

import msgspec

from posthorse.errors import InvalidOption
from posthorse.rules.job import State
from posthorse.rules.search.words import WORDS, How, Item, shown, text_of

EXAMPLE = 'write words such as "state:failed kind:mail* -tag:test age:>2h"'
MAX_VALUES = 100
"""Maximum for one filter: each value is one more thing to judge in every row."""

_PLAIN = re.compile(r"[\w.@/+-]+(:[\w.@/+-]+)*")
_PLACES = {word: place for place, word in enumerate(WORDS)}


class Term(msgspec.Struct, frozen=True):
    """One condition: the job matches one of the items, or with `is_not` none of them.

    path: of an argument, or in the metadata.
    """

    word: str
    items: tuple[Item, ...]
    is_not: bool = False
    path: str = ""

    @property
    def name(self) -> str:
        """The word as a user writes it."""
        return shown(self.word, self.path)

    @property
    def is_comparison(self) -> bool:
        """Whether two of the same word make a range."""
        return all(item.how in (How.ABOVE, How.BELOW) for item in self.items)

    def __str__(self) -> str:
        return f"{'-' * self.is_not}{self.name}:{','.join(map(_item_text, self.items))}"


class Filter(msgspec.Struct, frozen=True):
    """Conditions on jobs; a job must match all of them. The terms are in one order, so equal filters are equal."""

    terms: tuple[Term, ...] = ()

    @classmethod
    def of(cls, terms: Sequence[Term]) -> Filter:
        """Make a filter. Raises InvalidOption for terms that exclude each other by mistake, or for too many."""
        said: set[str] = set()
        for term in terms:
            if term.is_not or term.is_comparison or term.word == "tag":
                continue
            if term.name in said:
                raise InvalidOption(
                    f"the filter says {term.name} twice, and a job has one; for either of two write {term.name}:a,b"
                )
            said.add(term.name)
        if sum(len(term.items) for term in terms) > MAX_VALUES:
            raise InvalidOption(f"the filter has more than {MAX_VALUES} values; ask in parts")
        return cls(tuple(sorted(dict.fromkeys(map(_in_order, terms)), key=_key)))

    def __str__(self) -> str:
        return " ".join(map(str, self.terms))

    def of_word(self, word: str) -> tuple[Term, ...]:
        """Return the terms of a word."""
        return tuple(term for term in self.terms if term.word == word)

    @property
    def states(self) -> tuple[State, ...]:
        """The states that are asked for; none if the filter names none."""
        return tuple(
            cast("State", item.value) for term in self.of_word("state") if not term.is_not for item in term.items
        )

    def with_state(self, state: State) -> Filter:
        """Return the same filter for one state."""
        others = [term for term in self.terms if term.word != "state" or term.is_not]
        return Filter.of([*others, Term("state", (Item(state),))])


def term(word: str, value: str) -> str:
    """Write one term of a filter so that it is read back as this value, whatever it contains."""
    return f"{word}:{_quoted(value)}"


def _item_text(item: Item) -> str:
    if item.how in (How.ABOVE, How.BELOW):
        return f"{item.how}{text_of(item.value)}"
    return _quoted(text_of(item.value)) + item.how


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    return '"{}"'.format(re.sub(r'(["\\])', r"\\\1", value))


def _in_order(term: Term) -> Term:
    return msgspec.structs.replace(term, items=tuple(sorted(dict.fromkeys(term.items), key=_item_text)))


def _key(term: Term) -> tuple[int, str, bool, str]:
    return _PLACES[term.word], term.path, term.is_not, str(term)
