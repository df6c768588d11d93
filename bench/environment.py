"""The environment of a run: the machine, without which its figures mean nothing to others."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from bench.stores import MeasuredStore
from posthorse.version import VERSION

SYNCS = 100
BLOCK = b"\0" * 4096
LIBRARIES = ("psycopg", "asyncpg", "uvloop", "msgspec")
IN_MEMORY = ("tmpfs", "ramfs")


@dataclass(frozen=True)
class Disk:
    """The disk that contains a store."""

    file_system: str
    sync_ms: float
    """Median time of fdatasync after appending a block."""

    @property
    def is_in_memory(self) -> bool:
        """True if a commit costs nothing, and figures are therefore worthless."""
        return self.file_system in IN_MEMORY


@dataclass(frozen=True)
class Environment:
    """A machine at the time of a run."""

    cores: int
    processor: str
    versions: list[str]
    disks: dict[str, Disk]
    """Disks by store."""
    load_at_start: float
    load_at_end: float

    def at_end(self) -> Environment:
        """Return the same environment with the current load."""
        return replace(self, load_at_end=os.getloadavg()[0])


def look_around(stores: Sequence[MeasuredStore]) -> Environment:
    """Describe the machine as it is now."""
    versions = [
        f"Posthorse {VERSION}",
        f"Python {platform.python_version()}",
        *(store.version() for store in stores),
        *(f"{name} {version}" for name in LIBRARIES if (version := _version(name)) is not None),
    ]
    load = os.getloadavg()[0]
    disks = {store.name: Disk(_file_system(store.folder), _sync_time(store.folder)) for store in stores}
    return Environment(os.cpu_count() or 1, _processor(), versions, disks, load, load)


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def _file_system(folder: Path) -> str:
    command = ["df", "--output=fstype", str(folder)]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    return asked.stdout.split()[-1] if asked.returncode == 0 else "unknown"


def _sync_time(folder: Path) -> float:
    """Return the time in milliseconds."""
    sync = getattr(os, "fdatasync", os.fsync)  # not every system has the cheaper fdatasync
    times: list[float] = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(SYNCS):
            file.write(BLOCK)
            began = time.perf_counter()
            sync(file.fileno())
            times.append(time.perf_counter() - began)
    return median(times) * 1_000
