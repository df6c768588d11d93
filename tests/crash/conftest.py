"""The fixture `crash`: a store with workers that are killed, on every store or on the one that the test names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.harness import Crash


@pytest.fixture
def crash(store_url: str, tmp_path: Path) -> Iterator[Crash]:
    yield from _crash(store_url, tmp_path)


@pytest.fixture
def sqlite_crash(sqlite_url: str, tmp_path: Path) -> Iterator[Crash]:
    yield from _crash(sqlite_url, tmp_path)


@pytest.fixture
def postgres_crash(postgres_url: str, tmp_path: Path) -> Iterator[Crash]:
    yield from _crash(postgres_url, tmp_path)


def _crash(url: str, directory: Path) -> Iterator[Crash]:
    crash = Crash(url, directory)
    yield crash
    crash.end()
