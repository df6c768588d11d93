"""Settings files that are not regular files: an error at once, and never a wait."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import posthorse as ph
from posthorse.app.loading import find_target

DIGITS = "1" * 5_000


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", ["posthorse.toml", "posthorse.yaml"])
def test_a_pipe_is_refused_at_once(name: str) -> None:
    os.mkfifo(name)
    with pytest.raises(ph.InvalidSettings, match=f"{name} is a pipe and not a file"):
        ph.Posthorse()


@pytest.mark.timeout(30)
def test_a_pipe_named_as_the_project_file_names_no_application() -> None:
    os.mkfifo("pyproject.toml")
    assert find_target() is None


@pytest.mark.parametrize(
    ("name", "text"), [("posthorse.toml", f"lease = {DIGITS}"), ("posthorse.yaml", f"lease: {DIGITS}")]
)
def test_a_number_of_five_thousand_digits_is_refused(name: str, text: str) -> None:
    Path(name).write_text(text)
    with pytest.raises(ph.InvalidSettings, match=name):
        ph.Posthorse()


def test_so_is_one_in_the_project_file() -> None:
    Path("pyproject.toml").write_text(f"[tool.posthorse]\napp = {DIGITS}")
    with pytest.raises(ph.InvalidSettings, match=r"pyproject\.toml is not valid TOML"):
        find_target()
