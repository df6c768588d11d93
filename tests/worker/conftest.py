"""An application on each store, for tests that work with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import posthorse as ph


@pytest.fixture
def app(store_url: str) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url, lease="6s", poll="0.5s")
    yield app
    app.close()
