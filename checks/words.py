"""Words that the project's English does not use, and what to write instead; CONTRIBUTING.md explains the style.

    python -m checks.words              # refuse words beyond the allowance of a file
    python -m checks.words FILE…        # list all words in these files, allowed or not
    python -m checks.words --update     # lower the allowances to what is left

Older files still have some, so each has an allowance (`checks/words_allowed.txt`), which only falls.
"""

from __future__ import annotations

import argparse
import re
import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from checks import allowances
from checks.prose import SUFFIXES, prose
from checks.tree import files_of

ROOT = Path(__file__).parents[1]
QUOTING = ("checks/words.py", "tests/checks/test_words.py")
"""Files that quote the words."""


class Rule(NamedTuple):
    words: str
    """A pattern; a space in it is any white space, also across the lines of a comment."""
    instead: str


RULES = (
    Rule("whoever|whomever", "name the actor: the caller, the runner, another process"),
    Rule("nobody", "name the actor: no worker, no other process"),
    Rule("somebody", "name the actor: a worker, another process"),
    Rule("goes by|go by|went by|going by", '"is keyed by" or "depends on"'),
    Rule("stands? in", '"is in" or "is documented in"'),
    Rule("answer(?:s|ed)? with", '"returns"; of a message, "says" or "suggests"'),
    Rule("(?:is|are) no", '"is not a", "are not"'),
    Rule("(?:is|are|was|were) to be", '"must be", "should be" or "will be"'),
    Rule("shall", '"must" or "should"'),
    Rule("told of", '"notified of" or "reported"'),
    Rule("said of", '"set on" or "said about"'),
    # Old names, and words of the building that the code is not.
    Rule("bury|buries|buried|burying|burials?", '"rescue" (of a dead runner\'s jobs)'),
    Rule("wardens?", '"reaper"'),
    Rule("tether(?:s|ed)?|leash(?:es)?", '"control pipe"'),
    Rule("ears", '"request poller"'),
    Rule("heirs?", '"next leader"'),
    Rule("misfits?", '"type mismatch"'),
    Rule("guests?", '"the user\'s connection", "joined transaction"'),
    Rule("NotAllowed", '"InvalidTransition"'),
    Rule("rooms", '"packages" or "modules"'),
    Rule("floors?", '"layer"'),
    Rule("doors?", '"interface"'),
)
FINE = (
    "there (?:is|are) no",
    "(?:is|are) no (?:longer|more|less|fewer|slower|faster|better|worse|larger|smaller|longer|sooner|later)",
    "stands? in for",
)
"""Phrases that contain such words and are good English."""

GAP = r"(?:[\s#]|--)+"
PATTERN = re.compile(
    r"\b(?:"
    + "|".join([*FINE, *(f"(?P<r{number}>{rule.words})" for number, rule in enumerate(RULES))]).replace(" ", GAP)
    + r")\b",
    re.IGNORECASE,
)


class Find(NamedTuple):
    path: str
    line: int
    words: str
    instead: str

    def __str__(self) -> str:
        return f'{self.path}:{self.line}: "{self.words}": write {self.instead}'


def main(arguments: Sequence[str] | None = None) -> int:
    """Report what is wrong on stderr; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m checks.words", description="Refuse words that the style avoids.")
    parser.add_argument("files", nargs="*", metavar="FILE", help="list all words in these files, allowed or not")
    parser.add_argument("--update", action="store_true", help="lower the allowances to what is left")
    options = parser.parse_args(arguments)
    if options.files:
        complaints = [str(find) for name in options.files for find in finds_in(name, _read(Path(name)))]
    else:
        complaints = check(ROOT, allowances.PATH, update=options.update)
    print(*complaints, sep="\n", end="\n" if complaints else "", file=sys.stderr)
    return 1 if complaints else 0


def check(root: Path, list_of_allowances: Path, *, update: bool = False) -> list[str]:
    """Compare the words of each file below `root` with its allowance; return a line for each thing that is wrong."""
    files = [name for name in files_of(root, *SUFFIXES) if name not in QUOTING]
    finds = {name: list(finds_in(name, _read(root / name))) for name in files}
    counts = {name: len(found) for name, found in finds.items() if found}
    allowed = allowances.read(list_of_allowances)
    if update:
        allowed = allowances.lowered(allowed, counts, files)
        allowances.write(allowed, list_of_allowances)
    complaints: list[str] = []
    for name in sorted(counts.keys() | allowed.keys()):
        count, most = counts.get(name, 0), allowed.get(name, 0)
        if count > most:
            complaints += [str(find) for find in finds[name]]
            complaints += [f"{name}: {count} such words, where {most} are allowed"] if most else []
        elif count < most:
            complaints.append(
                f"{name}: {count} such words, but {most} are allowed: run python -m checks.words --update"
            )
    return complaints


def finds_in(name: str, text: str) -> Iterator[Find]:
    """Yield the refused words of a file, in order."""
    lines = [0, *(found.end() for found in re.finditer("\n", text))]
    found_words = [
        (start + found.start(), found)
        for start, stretch in prose(name, text)
        for found in PATTERN.finditer(stretch)
        if found.lastgroup is not None
    ]
    for offset, found in sorted(found_words, key=lambda each: each[0]):
        rule = RULES[int(str(found.lastgroup).removeprefix("r"))]
        words = re.sub(GAP, " ", found[0])
        yield Find(name, bisect_right(lines, offset), words, rule.instead)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
