"""Make users' texts storable: any database can store them, and none is long.

An error may contain anything: a message of megabytes, a NUL, half of a character. Every text that is stored with the
end of a job passes through here.
"""

from __future__ import annotations


def storable(text: str, longest: int) -> str:
    """Return text of several lines, without NUL and lone surrogates; if it is long, keep the end."""
    plain = str.__str__(text)[-4 * longest :]  # not a subclass, whose methods could do anything
    if plain.isascii() and len(plain) <= longest and "\0" not in plain:
        return plain
    clean = plain.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\0")
    return clean if len(clean) <= longest else "…" + clean[-longest:]


def one_line(text: str, longest: int) -> str:
    """Return text as one line that cannot look like another line; if it is long, keep the beginning."""
    plain = str.__str__(text)[: 4 * longest]
    if is_one_line(plain, longest):
        return plain
    line = " ".join(plain.split())
    if not line.isprintable():
        line = "".join(character if character.isprintable() else _escaped(character) for character in line)
    return line if len(line) <= longest else line[: longest - 1] + "…"


def is_one_line(text: str, longest: int) -> bool:
    """Return True if a text, which must not be of a subclass, is a line as `one_line` makes them."""
    # The only space that is printable is the usual one.
    return len(text) <= longest and text.isprintable() and "  " not in text and text[:1] != " " and text[-1:] != " "


def message_of(error: BaseException) -> str:
    """Return the message of an error, whatever its `__str__` does, even if that raises SystemExit."""
    try:
        return str(error)
    except BaseException as broken:
        return f"<its message cannot be shown: {name_of(type(broken))}>"


def name_of(kind: type) -> str:
    """Return the name of a class as it was defined, even if its metaclass changes that."""
    return str(_NAME.__get__(kind))


def full_name_of(kind: type) -> str:
    """Return the qualified name with its module."""
    name, module = str(_QUALIFIED_NAME.__get__(kind)), str(_MODULE.__get__(kind))
    return name if module == "builtins" else f"{module}.{name}"


_NAME, _QUALIFIED_NAME, _MODULE = (type.__dict__[name] for name in ("__name__", "__qualname__", "__module__"))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
