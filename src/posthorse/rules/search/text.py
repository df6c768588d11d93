"""The text of a filter, such as "state:failed kind:mail* -tag:test age:>2h": read it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from posthorse.errors import InvalidOption
from posthorse.rules.job import State
from posthorse.rules.search.filter import EXAMPLE, Filter, Term
from posthorse.rules.search.words import MIN_ID_PART, PATHS, WORDS, How, Item, read_item
from posthorse.rules.values.type_mismatch import short

_TERM = re.compile(r"(-?)([A-Za-z_][\w.-]*):")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BARE = re.compile(r"[^\s,]*")
_ESCAPED = re.compile(r'\\(["\\])')
_PATH = re.compile(r"[\w-]+(\.[\w-]+)*")
_ID_LIKE = re.compile(rf"…?(?=[0-9a-fA-F-]*[0-9])[0-9a-fA-F][0-9a-fA-F-]{{{MIN_ID_PART - 1},35}}")


def parse_filter(text: str) -> Filter:
    """Parse a filter. Raises InvalidOption, which names the nearest word."""
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"the filter is {short(text)}, and not a text; {EXAMPLE}")
    return Filter.of(list(_terms(text.strip())))


def known_word(name: str) -> str:
    """Check that a word exists. Raises InvalidOption, which names the nearest one."""
    if name in WORDS:
        return name
    near = difflib.get_close_matches(name, WORDS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(WORDS)}"
    raise InvalidOption(f"no filter is called {short(name)}; {hint}")


def checked_path(path: object) -> str:
    """Check the path of an argument. Raises InvalidOption."""
    if isinstance(path, str) and len(path) <= 200 and _PATH.fullmatch(path):
        return path
    raise InvalidOption(
        f"{short(path)} is not the path of an argument or of metadata; write names with dots between them, such as "
        "args.user.id:7"
    )


class _Read(NamedTuple):
    """A value as written, and where the next character is."""

    value: str
    how: How
    end: int


def _terms(text: str) -> Iterator[Term]:
    place = 0
    while place < len(text):
        started = _TERM.match(text, place)
        if started is None:
            found, place = _bare_word(text, place)
            yield found
        else:
            word, path = _word_and_path(started[2])
            items: list[Item] = []
            place = started.end()
            while True:
                value, how, place = _one_value(text, place, started[2], takes=WORDS[word].takes)
                items.append(read_item(word, started[2], value, how))
                if text[place : place + 1] != ",":
                    break
                place += 1
            yield Term(word, tuple(items), is_not=bool(started[1]), path=path)
        if place < len(text) and not text[place].isspace():
            raise _unreadable(text, place)
        while place < len(text) and text[place].isspace():
            place += 1


def _one_value(text: str, place: int, shown: str, *, takes: Sequence[How]) -> _Read:
    """Read a value, quoted or not, with `>` or `<` before it and `*` behind it."""
    how = How.IS
    if text[place : place + 1] in (">", "<") and How.ABOVE in takes:
        how, place = How(text[place]), place + 1
    quoted = _QUOTED.match(text, place)
    if quoted is not None:
        value, place = _ESCAPED.sub(r"\1", quoted[1]), quoted.end()
        if not value:
            raise InvalidOption(f"the filter has {shown}: and nothing behind it; {EXAMPLE}")
        if text[place : place + 1] == "*":
            return _Read(value, _beginning(shown, how), place + 1)
        return _Read(value, how, place)
    if text[place : place + 1] == '"':
        raise _unreadable(text, place)
    bare = _BARE.match(text, place)
    value = "" if bare is None else bare[0]
    place += len(value)
    if len(value) > 1 and value.endswith("*"):
        return _Read(value[:-1], _beginning(shown, how), place)
    return _Read(value, how, place)


def _beginning(shown: str, how: How) -> How:
    if how is not How.IS:
        raise InvalidOption(f"{shown}: has both {how} and *; take one of them")
    return How.BEGINS


def _bare_word(text: str, place: int) -> tuple[Term, int]:
    """Read a word without a name: an id, or the beginning of a kind."""
    start = place
    is_not = text[place] == "-"
    quoted = _QUOTED.match(text, place + is_not)
    if quoted is not None:
        value, place = _ESCAPED.sub(r"\1", quoted[1]), quoted.end()
    else:
        value = text[place + is_not :].split(maxsplit=1)[0] if text[place + is_not : place + is_not + 1].strip() else ""
        place += is_not + len(value)
        if value.startswith('"') or ":" in value:
            raise _unreadable(text, start)
        if value in tuple(State):
            raise InvalidOption(f"{value} is a state; write state:{value}, or kind:{value}* if kinds begin like this")
        if _ID_LIKE.fullmatch(value):
            return Term("id", (read_item("id", "id", value, How.IS),), is_not=is_not), place
    if not value.rstrip("*"):
        raise _unreadable(text, start)
    return Term("kind", (read_item("kind", "kind", value.removesuffix("*"), How.BEGINS),), is_not=is_not), place


def _unreadable(text: str, place: int) -> InvalidOption:
    return InvalidOption(f"the filter {short(text)} cannot be read from {short(text[place:])} on; {EXAMPLE}")


def _word_and_path(name: str) -> tuple[str, str]:
    word, dot, path = name.partition(".")
    if word in PATHS and dot:
        return word, checked_path(path)
    if word in PATHS:
        raise InvalidOption(
            f"{word}: does not say which {PATHS[word]}; write {word}.NAME:value, such as {WORDS[word].example}"
        )
    return known_word(name), ""
