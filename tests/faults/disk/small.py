"""A small file system of its own, in memory, that can be filled up and emptied. It needs the right to mount."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# $0 is the place. The input ends with this process, however it ends, so a killed test run leaves no mount behind.
_GUARDIAN = 'read -r _; umount -l "$0"'


@contextmanager
def small_disk(place: Path, *, size: int) -> Iterator[Path]:
    """Mount a disk of this many bytes there. Skip the test if this process may not."""
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={size}", "posthorse-small"]
    try:
        done = subprocess.run(["mount", *options, str(place)], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("a small disk needs the command mount")
    if done.returncode != 0:
        pytest.skip(f"a small disk needs the right to mount (root has it): {done.stderr.strip()}")
    guardian = subprocess.Popen(["sh", "-c", _GUARDIAN, str(place)], stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield place
    finally:
        guardian.communicate()


def fill(place: Path) -> Path:
    """Take all room that is left; return the file that does."""
    filler = place / "filler"
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(descriptor, b"x" * 4096) > 0:
            pass
    except OSError:
        return filler
    finally:
        os.close(descriptor)
    raise AssertionError("a disk without an end")
