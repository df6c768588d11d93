"""The files of a working tree: those that git tracks or would add, or, in a copy without git, all that no tool made."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

LEFT_BY_TOOLS = {"build", "dist", "__pycache__"}
"""Folders that .gitignore leaves out, beside the hidden ones."""


def files_of(root: Path, *suffixes: str) -> list[str]:
    """Return the paths of the files below `root` with one of the suffixes, or of all; sorted, relative to `root`."""
    names = _walked(root) if (listed := _listed(root)) is None else listed
    return sorted({name for name in names if name.endswith(suffixes or "") and (root / name).is_file()})


def git(root: Path, *arguments: str) -> str | None:
    """Return what git prints in `root`; None when it cannot tell, as in a copy of the tree without its repository."""
    # A checkout may belong to another account, as in a container. Its Makefile runs already, so git may trust it.
    command: Sequence[str] = ("git", "-c", "safe.directory=*", *arguments)
    try:
        return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def _listed(root: Path) -> list[str] | None:
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return (
        listed.split("\0")[:-1] if listed else None
    )  # none: the tree lies in a folder that another repository ignores


def _walked(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_BY_TOOLS and not name.startswith(".")]
        yield from (os.path.relpath(os.path.join(folder, name), root) for name in names)
