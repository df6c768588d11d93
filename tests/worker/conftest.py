"""An application on each store, for tests that work with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import posthorse as ph
from posthorse.rules.tuning import Tuning
from tests.worker.project import Project


@pytest.fixture
def app(store_url: str, tuning: Tuning) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url, lease="6s", poll="0.5s", tuning=tuning)
    yield app
    app.close()


@pytest.fixture
def project(tmp_path: Path, sqlite_url: str) -> Iterator[Project]:
    """A project on SQLite, for workers in processes of their own."""
    project = Project(tmp_path, sqlite_url)
    yield project
    project.client.close()


@pytest.fixture
def postgres_project(tmp_path: Path, postgres_url: str) -> Iterator[Project]:
    """A project on PostgreSQL, whose address has a password."""
    project = Project(tmp_path, postgres_url.replace("://postgres@", "://postgres:canary@"))
    yield project
    project.client.close()
