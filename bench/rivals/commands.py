"""The commands of a rival's client and workers, with the words that they need. Pure; starts nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.rivals.environments import PROJECT, Home, node
from bench.rivals.table import Rival
from bench.rivals.workers.questions import URL
from bench.rivals.workers.tally import FOLDER

WORKERS = Path(__file__).with_name("workers")
PACKAGE = "bench.rivals.workers"
HOME = "RIVAL_HOME"
SCRIPT = ".mjs"


@dataclass(frozen=True)
class Commands:
    """The commands that start one rival."""

    client: Sequence[str]
    workers: Sequence[Sequence[str]]
    """Commands of all its workers, which together have the requested number of processes."""
    variables: Mapping[str, str]


def commands(rival: Rival, home: Home, *, url: str, tally: Path, processes: int) -> Commands:
    """Return the commands for this many processes. Raises KeyError for a word in braces that has no value."""
    is_script = rival.module.endswith(SCRIPT)
    module = str(WORKERS / rival.module) if is_script else f"{PACKAGE}.{rival.module}"
    words = {
        "python": str(home.programs / "python"),
        "bin": str(home.programs),
        "node": str(node()) if is_script else "",
        "module": module,
        "package": PACKAGE,
        "processes": str(processes),
    }
    starts = 1 if any("{processes}" in word for word in rival.worker) else processes
    return Commands(
        client=[words["node"], module] if is_script else [words["python"], "-m", PACKAGE, rival.module],
        workers=[[word.format(**words, number=number) for word in rival.worker] for number in range(1, starts + 1)],
        variables={
            URL: url,
            FOLDER: str(tally),
            HOME: str(home.folder),
            "PYTHONPATH": str(PROJECT),
        },
    )
