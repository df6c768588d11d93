"""The prose of a file: comments, docstrings and messages of Python, comments of SQL, and the text of Markdown.

Code is not prose: names, inline code between backticks, code blocks of other languages, targets of links, and strings
without a space, which are names or values. What is left out is blanked, so every offset is one of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

PYTHON = re.compile(
    r"""
      (?P<comment> \#[^\n]* (?: \n[ \t]*\#[^\n]* )* )
    | (?P<prefix> [a-zA-Z]{0,2} )
      (?P<string> \"{3} [^\"\\]* (?: (?: \\. | \"{1,2} (?!\") ) [^\"\\]* )* \"{3}
                | '{3}  [^'\\]*  (?: (?: \\. | '{1,2}  (?!')  ) [^'\\]*  )* '{3}
                | \" [^\"\\\n]* (?: \\. [^\"\\\n]* )* \"
                | '  [^'\\\n]*  (?: \\. [^'\\\n]*  )* ' )
    """,
    re.VERBOSE | re.DOTALL,
)
SQL = re.compile(r"'[^']*'|(?P<comment>--[^\n]*(?:\n[ \t]*--[^\n]*)*)")
FENCED = re.compile(r"^(?P<fence>```+)(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=fence)", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"`[^`\n]*`")
LINK_TARGET = re.compile(r"(?<=\])\([^)\n]*\)")
REPLACED = re.compile(r"\{[^{}]*\}")

SUFFIXES = (".md", ".py", ".sql")


def prose(name: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield each stretch of prose with its offset; `name` tells the language by its suffix, one of `SUFFIXES`."""
    stretches = _markdown(text) if name.endswith(".md") else _sql(text) if name.endswith(".sql") else _python(text)
    for start, stretch in stretches:
        yield start, INLINE_CODE.sub(_blank, stretch)


def _python(text: str) -> Iterator[tuple[int, str]]:
    for found in PYTHON.finditer(text):
        if comment := found["comment"]:
            yield found.start(), comment
        elif " " in (string := found["string"]):
            formatted = "f" in found["prefix"].lower()
            yield found.start("string"), REPLACED.sub(_blank, string) if formatted else string


def _sql(text: str) -> Iterator[tuple[int, str]]:
    for found in SQL.finditer(text):
        if comment := found["comment"]:
            yield found.start(), comment


def _markdown(text: str) -> Iterator[tuple[int, str]]:
    yield 0, LINK_TARGET.sub(_blank, FENCED.sub(_blank, text))
    for found in FENCED.finditer(text):
        if found["language"] == "python":
            for start, stretch in _python(found["code"]):
                yield found.start("code") + start, stretch


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", "\x00", found[0])
