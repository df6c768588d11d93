"""Filters as keyword arguments of Python; the words are those of the text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypedDict, cast

from posthorse.errors import InvalidOption
from posthorse.rules.durations import Duration
from posthorse.rules.job import State
from posthorse.rules.search.filter import Filter, Term
from posthorse.rules.search.text import checked_path, known_word, parse_filter
from posthorse.rules.search.words import PATHS, WORDS, How, Item, read_item, shown
from posthorse.rules.values.type_mismatch import short


class Words(TypedDict, total=False):
    """The words of a filter as keyword arguments; a list means either of its values."""

    id: str | Sequence[str]
    """A whole id, or six characters of its beginning or end."""
    state: State | str | Sequence[State | str]
    """The state of the job."""
    kind: str | Sequence[str]
    """A kind, or its beginning with a trailing `*`; likewise queue, tenant, tag, error and schedule."""
    queue: str | Sequence[str]
    priority: int | str | Sequence[int]
    """A number, or a text such as ">0"."""
    tenant: str | Sequence[str]
    tag: str | Sequence[str]
    since: datetime | Duration
    """Enqueued at this moment or later; a span means so long ago."""
    until: datetime | Duration
    """Enqueued before this moment."""
    age: str | Sequence[str]
    """How long ago it was enqueued: ">2h" or "<2h"; a list of both is a range."""
    older: Duration
    """Ended at least so long ago; for a job that has not ended, its enqueue counts."""
    newer: Duration
    """Ended, or was enqueued, less than so long ago."""
    took: str | Sequence[str]
    """How long it ran from its first start to its end: ">5s"."""
    waited: str | Sequence[str]
    """How long it waited for its first start: ">10m"."""
    attempt: int | str | Sequence[int]
    """The number of its attempt, or a text such as ">1"."""
    error: str | Sequence[str]
    """The class of its last error, with or without its module."""
    cause: str | Sequence[str]
    """The fingerprint of the group of the error that it failed with for good, as figures show it."""
    reason: str | Sequence[str]
    """How its reason begins."""
    schedule: str | Sequence[str]
    parent: str | Sequence[str]
    """The id of the job that enqueued it."""
    meta: Mapping[str, object]
    """Entries of the metadata by their paths, such as {"user": 7}."""
    args: Mapping[str, object]
    """Arguments by their paths, such as {"user.id": 7}."""


def make_filter(text: str, words: Mapping[str, object]) -> Filter:
    """Make a filter of a text and of keyword arguments; a job must match both. Raises InvalidOption."""
    terms = [*parse_filter(text).terms]
    for word, given in words.items():
        if given is None:
            continue
        if word in PATHS:
            if not isinstance(given, Mapping):
                raise InvalidOption(
                    f'{word} is {short(given)}; give a dict of paths and values, such as {{"user.id": 7}}'
                )
            for path, value in cast("Mapping[str, object]", given).items():
                terms += _keyword_terms(word, checked_path(path), value)
        else:
            terms += _keyword_terms(known_word(word), "", given)
    return Filter.of(terms)


def _keyword_terms(word: str, path: str, given: object) -> Iterator[Term]:
    """Return the terms of one keyword: a list means either, but of comparisons all."""
    values = list(cast("Sequence[object]", given)) if isinstance(given, list | tuple | set | frozenset) else [given]
    if not values:
        raise InvalidOption(f"{word} is an empty list, which no job can match; leave {word} out")
    items = tuple(_keyword_item(word, path, value) for value in values)
    alone = Term(word, items, path=path)
    if alone.is_comparison:
        yield from (Term(word, (item,), path=path) for item in items)
    else:
        yield alone


def _keyword_item(word: str, path: str, value: object) -> Item:
    takes, how = WORDS[word].takes, How.IS
    if isinstance(value, str) and not isinstance(value, State):
        if How.ABOVE in takes and value[:1] in (">", "<"):
            how, value = How(value[0]), value[1:]
        elif How.BEGINS in takes and len(value) > 1 and value.endswith("*"):
            how, value = How.BEGINS, value[:-1]
    return read_item(word, shown(word, path), value, how)
