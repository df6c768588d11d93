"""The checks read the files of the project, with git or in a copy without it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from checks.tree import files_of, git


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.py", "docs/b.md", "build/c.py", "src/__pycache__/d.pyc", ".venv/e.py", ".hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_repository_has_what_git_tracks_and_would_add_and_no_file_that_is_gone(tree: Path) -> None:
    (tree / ".gitignore").write_text("/build/\n/.venv/\n*.pyc\n")
    (tree / "gone.py").touch()
    subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)
    subprocess.run(["git", "add", "a.py", "gone.py"], cwd=tree, check=True)
    (tree / "gone.py").unlink()
    assert files_of(tree) == [".gitignore", ".hidden", "a.py", "docs/b.md"]
    assert files_of(tree, ".md", ".sql") == ["docs/b.md"]


def test_a_copy_without_repository_has_all_that_no_tool_made(tree: Path) -> None:
    assert git(tree, "status") is None
    assert files_of(tree) == [".hidden", "a.py", "docs/b.md"]


def test_without_git_the_tree_is_walked(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert files_of(tree, ".py") == ["a.py"]
