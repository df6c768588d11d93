"""The documentation is true: its programs run and print what it says, and its tables name everything there is.

The README and the first steps are typed into an empty folder, block by block (see `typist`). On other pages a block of
Python that begins with the name of a file is (or continues) that file; the others are run in order, in the same folder,
while a worker serves the first file. A comment behind `print(…)` is what it must print. Lines
of console blocks are run as well.
"""

from __future__ import annotations

import inspect
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import posthorse as ph
from posthorse.app.configure import PREFIX
from posthorse.rules.durations import as_text, as_timedelta
from posthorse.rules.lifecycle import GRAPH
from posthorse.rules.registry import KindOptions
from posthorse.rules.settings import Settings
from tests.examples.typist import Typist

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
POSTHORSE = Path(sys.executable).with_name("posthorse")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel of the working tree: what `pip install posthorse` would fetch."""
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
    "name", ["arguments", "keys", "limits", "long-jobs", "queues", "reading", "retries", "schedules"]
)
def test_what_a_page_shows_runs_and_prints_what_it_says(name: str, tmp_path: Path) -> None:
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(python|console)\n(.*?)^```", page, re.M | re.S)
    files = write_files([code for language, code in blocks if language == "python"], tmp_path)
    with worker(Path(files[0]).stem, tmp_path):
        for language, code in blocks:
            if language == "console":
                for line in code.splitlines():
                    run_line(line, tmp_path)
            elif named_file(code) is None:
                run_program(code, tmp_path)


def test_every_setting_is_documented_with_its_variable_and_default() -> None:
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    rows = {cells[0]: cells[1:] for cells in table_rows(page)}
    defaults = Settings()
    for name in Settings.__struct_fields__:
        value = getattr(defaults, name)
        default = as_text(as_timedelta(value, name=name)) if isinstance(value, float) else str(value)
        assert rows.get(f"`{name}`", ())[:2] == (f"`{PREFIX}{name.upper()}`", f"`{default}`"), name
    assert {name.strip("`") for name in rows} == {"setting", *Settings.__struct_fields__}


def test_every_option_of_a_job_is_documented_with_where_it_may_be_given() -> None:
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    rows = [cells for cells in table_rows(page[page.index("## Options of a job") :]) if cells[0].startswith("`")]
    documented = {name: cells[1:3] for cells in rows for name in re.findall(r"`(\w+)`", cells[0])}
    at_decorator = {*KindOptions.__struct_fields__, "kind"} - {"backoff_function"}  # the form of a backoff
    given = inspect.signature(ph.Kind.using).parameters.values()
    in_using = {option.name for option in given if option.kind is option.KEYWORD_ONLY}  # not **unknown, which refuses
    assert documented == {
        name: ("×" if name in at_decorator else "", "×" if name in in_using else "") for name in at_decorator | in_using
    }


def test_graph_of_states_is_the_one_in_the_code() -> None:
    page = (DOCS / "reliability.md").read_text(encoding="utf-8")
    drawn = re.search(r"^```mermaid\nstateDiagram-v2\n(.*?)^```", page, re.M | re.S)
    assert drawn is not None
    edges = [f"    {one} --> {other}" for one in GRAPH for other in sorted(GRAPH[one])]
    assert drawn[1].splitlines() == edges


def write_files(programs: list[str], folder: Path) -> list[str]:
    """Writes the files that the blocks name; answers with their names in order."""
    names: list[str] = []
    for code in programs:
        name = named_file(code)
        if name is not None:
            with (folder / name).open("a", encoding="utf-8") as file:
                file.write(f"\n\n{code}")
            names.append(name)
    return names


def named_file(code: str) -> str | None:
    """The file that a block says it is."""
    found = re.match(r"# (\w+\.py)\n", code)
    return found[1] if found else None


@contextmanager
def worker(module: str, folder: Path) -> Iterator[None]:
    """A worker for `module:app`, stopped as a service manager would."""
    command = [str(POSTHORSE), "worker", "--app", f"{module}:app", "--processes", "1"]
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0, (folder / "worker.log").read_text()
    finally:
        process.kill()
        process.wait()


def run_line(line: str, folder: Path) -> None:
    """Runs a line of a console block; the worker runs already."""
    if not line.startswith("$ ") or " worker " in line:
        return
    environment = {**os.environ, "PATH": f"{POSTHORSE.parent}{os.pathsep}{os.environ['PATH']}"}
    ran = subprocess.run(
        line[2:], shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"


def run_program(code: str, folder: Path) -> None:
    """Runs a block and compares what it prints."""
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


def table_rows(page: str) -> list[tuple[str, ...]]:
    """The cells of the first table of a page, without its ruler."""
    lines = next(part for part in page.split("\n\n") if part.startswith("| ")).splitlines()
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines if "---" not in line]
