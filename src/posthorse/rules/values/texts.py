"""Texts of the users' making as they are stored: any store takes them, and none is long.

An error says what it likes: a message of megabytes, a NUL, half of a character. What becomes part of how a job ended
passes here first.
"""

from __future__ import annotations


def storable(text: str, longest: int) -> str:
    """Text of several lines: without NUL and lone surrogates; the end is kept when it is long."""
    plain = str.__str__(text)[-4 * longest :]  # not a subclass, whose methods may do anything
    clean = plain.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\0")
    return clean if len(clean) <= longest else "…" + clean[-longest:]


def one_line(text: str, longest: int) -> str:
    """Text as one line shows it: nothing in it can look like another line; the beginning is kept when it is long."""
    line = " ".join(str.__str__(text)[: 4 * longest].split())
    if not line.isprintable():
        line = "".join(character if character.isprintable() else _escaped(character) for character in line)
    return line if len(line) <= longest else line[: longest - 1] + "…"


def message_of(error: BaseException) -> str:
    """What an error says, whatever its `__str__` does: raising SystemExit included."""
    try:
        return str(error)
    except BaseException as broken:
        return f"<its message cannot be shown: {name_of(type(broken))}>"


def name_of(kind: type) -> str:
    """The name of a class, as it was defined, whatever its own class makes of that."""
    return str(_NAME.__get__(kind))


def full_name_of(kind: type) -> str:
    """The same with its module in front, and what it was defined in."""
    name, module = str(_QUALIFIED_NAME.__get__(kind)), str(_MODULE.__get__(kind))
    return name if module == "builtins" else f"{module}.{name}"


_NAME, _QUALIFIED_NAME, _MODULE = (type.__dict__[name] for name in ("__name__", "__qualname__", "__module__"))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
