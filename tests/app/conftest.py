"""An application on each store, and settings that no environment disturbs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import posthorse as ph
from posthorse.rules.tuning import Tuning


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but those that a test makes."""
    for name in os.environ:
        if name.startswith("POSTHORSE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def app(store_url: str, tuning: Tuning) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url, lease="6s", poll="0.5s", tuning=tuning)
    yield app
    app.close()
