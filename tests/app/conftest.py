"""Settings that no environment disturbs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but those that a test makes."""
    for name in os.environ:
        if name.startswith("POSTHORSE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
