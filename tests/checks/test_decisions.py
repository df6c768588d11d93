"""Decisions are numbered consecutively, and the heading of each file has its number."""

from __future__ import annotations

import re
from pathlib import Path

DECISIONS = Path(__file__).parents[2] / "docs/decisions"


def test_decisions_are_numbered_one_by_one() -> None:
    files = sorted(DECISIONS.glob("*.md"))
    assert [int(file.name[:4]) for file in files] == list(range(1, len(files) + 1))


def test_each_heading_has_the_number_of_its_file() -> None:
    for file in sorted(DECISIONS.glob("*.md")):
        heading = re.match(r"# (\d+)\. ", file.read_text(encoding="utf-8"))
        assert heading is not None, file.name
        assert int(heading[1]) == int(file.name[:4]), file.name
