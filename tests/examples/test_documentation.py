"""The documentation is true: its programs run and print what it says, and its graph of states is the code's.

The README and the first steps are typed into an empty folder, block by block (see `typist`). On other pages, a block of
Python that begins with the name of a file is (or continues) that file. The others are run in order, in the same folder,
while a worker serves the first file that has an application. A comment after `print(…)` is what it must print. Lines of
console blocks are run as well.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from posthorse.rules.lifecycle import GRAPH
from tests.examples.typist import Typist

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
POSTHORSE = Path(sys.executable).with_name("posthorse")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a wheel of the working tree: what `pip install posthorse` would fetch."""
    folder = tmp_path_factory.mktemp("wheels")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    return folder


@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", ["README.md", "docs/getting-started.md"])
def test_a_page_typed_in_an_empty_folder_works_on_sqlite_and_as_it_says_on_postgresql(
    page: str, tmp_path: Path, wheels: Path, postgres_url: str
) -> None:
    folder = tmp_path / "typed"
    folder.mkdir()
    with Typist(folder, wheels=wheels, instead={"postgresql://shop@localhost/shop": postgres_url}) as typist:
        typist.type((ROOT / page).read_text(encoding="utf-8"))


@pytest.mark.timeout(400)
def test_getting_started_typed_with_a_server_in_place_of_the_file_works(
    tmp_path: Path, wheels: Path, postgres_url: str
) -> None:
    folder = tmp_path / "typed"
    folder.mkdir()
    page = (DOCS / "getting-started.md").read_text(encoding="utf-8")
    assert page.count("sqlite:///notes.db") == 1
    with Typist(folder, wheels=wheels, instead={"sqlite:///notes.db": postgres_url}) as typist:
        typist.type(page)


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "name",
    [
        "arguments",
        "bundles",
        "commands",
        "events",
        "extending",
        "keys",
        "limits",
        "long-jobs",
        "queues",
        "reading",
        "resources",
        "throttles",
        "retries",
        "steps",
        "timeline",
        "schedules",
        "sharding",
        "stock",
        "why",
        "workflows",
    ],
)
def test_what_a_page_shows_runs_and_prints_what_it_says(name: str, tmp_path: Path) -> None:
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(python|console)\n(.*?)^```", page, re.M | re.S)
    files = write_files([code for language, code in blocks if language == "python"], tmp_path)
    served = next(file for file in files if "\napp = ph.Posthorse(" in (tmp_path / file).read_text(encoding="utf-8"))
    with worker(Path(served).stem, tmp_path):
        for language, code in blocks:
            if language == "console":
                for line in code.splitlines():
                    run_line(line, tmp_path)
            elif named_file(code) is None:
                run_program(code, tmp_path)


def test_graph_of_states_is_the_one_in_the_code() -> None:
    page = (DOCS / "reliability.md").read_text(encoding="utf-8")
    drawn = re.search(r"^```mermaid\nstateDiagram-v2\n(.*?)^```", page, re.M | re.S)
    assert drawn is not None
    edges = [f"    {one} --> {other}" for one in GRAPH for other in sorted(GRAPH[one])]
    assert drawn[1].splitlines() == edges


def write_files(programs: list[str], folder: Path) -> list[str]:
    """Write the files that the blocks name; return their names in order."""
    names: list[str] = []
    for code in programs:
        name = named_file(code)
        if name is not None:
            with (folder / name).open("a", encoding="utf-8") as file:
                file.write(f"\n\n{code}")
            names.append(name)
    return names


def named_file(code: str) -> str | None:
    """Return the file that a block says it is."""
    found = re.match(r"# (\w+\.py)\n", code)
    return found[1] if found else None


@contextmanager
def worker(module: str, folder: Path) -> Iterator[None]:
    """Run a worker for `module:app`, on a machine that is idle as far as it knows; stop it as a service manager
    would."""
    idle = folder / "idle"
    idle.mkdir()
    (idle / "sitecustomize.py").write_text("import os\n\nos.getloadavg = lambda: (0.0, 0.0, 0.0)\n")
    command = [str(POSTHORSE), "worker", "--app", f"{module}:app", "--processes", "1"]
    with (folder / "worker.log").open("wb") as log:
        environment = {**os.environ, "PYTHONPATH": str(idle)}
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0, (folder / "worker.log").read_text()
    finally:
        process.kill()
        process.wait()


def run_line(line: str, folder: Path) -> None:
    """Run a line of a console block; the worker runs already."""
    if not line.startswith("$ ") or " worker " in line:
        return
    environment = {**os.environ, "PATH": f"{POSTHORSE.parent}{os.pathsep}{os.environ['PATH']}"}
    ran = subprocess.run(
        line[2:], shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"


def run_program(code: str, folder: Path) -> None:
    """Run a block and compare what it prints."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True, timeout=90, check=False
    )
    log = folder / "worker.log"
    assert ran.returncode == 0, f"{code}\n{ran.stderr}\n{log.read_text()[-2000:]}"
    promised = re.findall(r"^\s*print\(.*\) +# (.*)$", code, re.M)
    printed = ran.stdout.splitlines()
    assert len(printed) == len(promised), code
    for line, promise in zip(printed, promised, strict=True):
        assert line == promise or promise.startswith("such as: "), code
