"""The page on tests under fault is true: it lists each fault of the nemesis, and each test that it names exists."""

from __future__ import annotations

import random
import re
from pathlib import Path

from tests.crash.harness import ROOT
from tests.faults.checker import ELSEWHERE, INVARIANTS
from tests.faults.nemesis import Nemesis
from tests.faults.stage import Stage

PAGE = (ROOT / "docs" / "fault-tests.md").read_text(encoding="utf-8")


def test_each_fault_of_the_nemesis_stands_on_the_page(sqlite_url: str, tmp_path: Path) -> None:
    stage = Stage(sqlite_url, tmp_path / "stage", workloads=(), seed=1)
    try:
        everything = Nemesis(stage, random.Random(1), server=_Any(), proxy=_Any())  # type: ignore[arg-type]  # not used
        of_sqlite = Nemesis(stage, random.Random(1))
        rows = [line for line in PAGE.splitlines() if line.startswith("| F")]
        assert {*everything.faults, *of_sqlite.faults} == {name for row in rows for name in re.findall(r"`(.+?)`", row)}
    finally:
        stage.end()


def test_each_test_that_the_page_names_exists() -> None:
    named = re.findall(r"tests/[a-z_/]+\.py", PAGE)
    assert named
    for path in named:
        assert (ROOT / path).exists(), path


def test_each_invariant_stands_on_the_page() -> None:
    told = set(re.findall(r"\bI\d+\b", PAGE))
    assert told == {name.split()[0] for name in (*INVARIANTS, *ELSEWHERE)}


class _Any:
    """A stand-in where a nemesis asks whether there is one."""
