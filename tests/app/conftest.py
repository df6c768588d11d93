"""The fixtures of these tests: an environment without settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove all settings from the environment, so that only those of a test count."""
    for name in os.environ:
        if name.startswith("POSTHORSE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
