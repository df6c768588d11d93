"""How many words of the list each file may still have: a number that only falls. See `words`.

The file is merged line by line (`merge=union` in .gitattributes), so it may have a path twice, with the numbers of both
sides: the lower one counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

PATH = Path(__file__).with_name("words_allowed.txt")
HEADER = """\
# How many of the words that `checks/words.py` refuses each file may still have. The numbers only fall.
# After you have replaced some, and after any merge conflict here, run: python -m checks.words --update
"""


def read(path: Path = PATH) -> dict[str, int]:
    """Return the allowance of each path; none when the file is gone. Markers of a merge conflict are passed over."""
    allowed: dict[str, int] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        name, _, number = line.rpartition(" ")
        if number.isdecimal() and not line.startswith(("#", "<", "=", ">", "|")):
            allowed[name] = min(int(number), allowed.get(name, int(number)))
    return allowed


def write(allowed: Mapping[str, int], path: Path = PATH) -> None:
    """Write the allowances, sorted; remove the file when none is left."""
    if allowed:
        path.write_text(HEADER + "".join(f"{name} {allowed[name]}\n" for name in sorted(allowed)), encoding="utf-8")
    else:
        path.unlink(missing_ok=True)


def lowered(allowed: Mapping[str, int], counts: Mapping[str, int], files: Collection[str]) -> dict[str, int]:
    """Lower each allowance to what its file has.

    New files share the allowances of those that are gone, because a file may have been renamed.
    """
    spare = sum(number for name, number in allowed.items() if name not in files)
    result: dict[str, int] = {}
    for name, count in sorted(counts.items()):
        if name in allowed:
            result[name] = min(count, allowed[name])
        elif spare:
            result[name] = min(count, spare)
            spare -= result[name]
    return {name: number for name, number in result.items() if number}
