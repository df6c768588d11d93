"""Mutations: small mistakes in the source, each with the test that must notice it: a table, and how one is planted.

They complement `defects`, which only a whole run under fault can show: one test finds each of these, in seconds. A
mutation is planted into a copy of the package, which a run of pytest then imports instead of the real one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "posthorse"
TABLE = Path(__file__).with_suffix(".toml")

FAILED = 1
"""The exit code of pytest when tests ran and one failed; any other code proves nothing."""


class Mutation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One mistake: in this file of the package, `before`, which occurs once in it, is replaced by `after`."""

    name: str
    file: str
    before: str
    after: str
    test: str
    """The id of the test that fails with it."""

    @property
    def occurrences(self) -> int:
        """Return how often the text that it replaces occurs in the real source."""
        path = PACKAGE / self.file
        return path.read_text(encoding="utf-8").count(self.before) if path.is_file() else 0


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    mutation: tuple[Mutation, ...]


def mutations() -> Sequence[Mutation]:
    """Return all mutations in the order of the table."""
    return msgspec.toml.decode(TABLE.read_bytes(), type=_Table).mutation


def plant(mutation: Mutation, folder: Path) -> None:
    """Make a copy of the package in a folder, with the mistake in it."""
    assert mutation.occurrences == 1, f"{mutation.file} has its text {mutation.occurrences} times"
    copy = folder / PACKAGE.name
    shutil.copytree(PACKAGE, copy)  # with compiled files and their times, so that only the change is compiled again
    path = copy / mutation.file
    source = path.read_text(encoding="utf-8")
    path.write_text(source.replace(mutation.before, mutation.after), encoding="utf-8")
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


def run_test(test: str, folder: Path, *, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Run one test of this tree on the package in a folder."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-m", "soak or not soak"]
    options = ["-p", "no:cacheprovider", f"--timeout={timeout:g}", f"--basetemp={folder / 'tmp'}"]
    return subprocess.run(
        [*command, *options, test],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
