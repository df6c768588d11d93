"""A failing disk, on demand, below any program: a small library between it and the kernel, built by the C compiler.

It knows no store. Without a compiler, its tests are skipped, and say so.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("shim.c")


class FailingDisk:
    """The switches of one disk, for every process that was started with its `environment`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self.environment: Mapping[str, str] = {"LD_PRELOAD": str(_library()), "DISK_FOLDER": str(folder)}

    def fail_syncs(self, suffix: str) -> None:
        """Let every sync of a file whose name ends like this fail with EIO."""
        (self._folder / "fail").write_text(suffix)

    def heal(self) -> None:
        """Let syncs succeed again."""
        (self._folder / "fail").unlink()

    def kill_in_write(self, suffix: str, number: int) -> None:
        """Let a process die in its `number`th write to, or sync of, such a file, and leave that write half done."""
        (self._folder / "kill").write_text(f"{suffix} {number}")

    def spare(self) -> None:
        """Let no process die any more."""
        (self._folder / "kill").unlink(missing_ok=True)

    def keep_what_is_synced(self, store: Path) -> None:
        """Remember what a power cut would leave from now on: each file as it is now, and later as at its last sync.

        No process may have the store open.
        """
        shutil.rmtree(self._folder / "synced", ignore_errors=True)
        (self._folder / "synced").mkdir()
        for path in store.parent.glob(f"{store.name}*"):
            shutil.copy(path, self._folder / "synced" / path.name)

    def cut_power(self, store: Path) -> None:
        """Remove what was not synced. No process may have the store open."""
        for path in store.parent.glob(f"{store.name}*"):
            path.unlink()
        for path in (self._folder / "synced").glob(f"{store.name}*"):
            shutil.copy(path, store.parent / path.name)


@functools.cache
def _library() -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("faults of the disk need Linux and a C compiler: install gcc")
    folder = tempfile.mkdtemp(prefix="posthorse-disk-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = Path(folder) / "shim.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"the library that lets a disk fail does not build here: {done.stderr[-500:]}")
    # Without it a program would start all the same, on a disk that never fails.
    probe = subprocess.run(["true"], env={**os.environ, "LD_PRELOAD": str(library)}, capture_output=True, text=True)
    if probe.stderr:
        pytest.skip(f"the library that lets a disk fail does not load here: {probe.stderr[-500:]}")
    return library
