"""A typist: types what a page of the documentation shows, in order, as a reader would who begins in an empty folder.

What a fenced block means:

- `python` that begins with `# name.py` is that file, or is appended to it;
- `python` of one line that assigns a name which a file assigns, too, replaces that line of the file;
- other `python` is run in the folder; a comment after `print(…)` is what it must print, unless it begins "such as: ";
- `console` contains lines that are typed after `$ `; `posthorse worker` runs on in a terminal of its own until `^C`;
- `toml` that begins with `# name.toml` is that file, or is appended to it; other `toml` is not typed.

A fence that is followed by another word, such as ```` ```python no-test ````, is shown and not typed.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
_FILE = re.compile(r"# (\w+\.(?:py|toml))\n")
_ASSIGNMENT = re.compile(r"(\w+) = .*\n")
_PROMISE = re.compile(r"^\s*print\(.*\) +# (.*)$", re.M)
_ENDED = "posthorse-typist-ended"
MINUTE = 60


class Typist:
    """A reader with two terminals: one for the worker, one for everything else.

    wheels: a folder with a wheel of this project, which is what `pip install` finds; this environment lends its
        dependencies. None if the page installs from the package index, as at a release.
    instead: what the reader types where a page shows a placeholder, such as the address of a server.
    """

    def __init__(self, folder: Path, *, wheels: Path | None, instead: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._is_lending = wheels is not None
        self._instead = dict(instead or {})
        self._worker: subprocess.Popen[bytes] | None = None
        self._log = folder.with_name(f"{folder.name}.worker.log")
        self._said = folder.with_name(f"{folder.name}.stderr")
        with self._said.open("wb") as said:
            self._shell = subprocess.Popen(
                ["bash", "--noprofile", "--norc"],
                cwd=folder,
                env=_environment(wheels),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._worker is not None and error is None:
                self._stop_worker()
        finally:
            if self._worker is not None:
                self._worker.kill()
                self._worker.wait()
            self._shell.kill()
            self._shell.communicate()

    def type(self, page: str) -> None:
        """Type all blocks of a page."""
        for language, shown in _BLOCK.findall(page):
            block = shown
            for placeholder, value in self._instead.items():
                block = block.replace(placeholder, value)
            if language == "console":
                for line in block.splitlines():
                    self._type_line(line)
            elif language == "python":
                self._type_python(block)
            elif language == "toml" and _FILE.match(block):
                self._write(block)

    def _type_python(self, block: str) -> None:
        if _FILE.match(block):
            self._write(block)
        elif (assignment := _ASSIGNMENT.fullmatch(block)) is not None:
            self._edit(assignment[1], block)
        else:
            self._run_program(block)

    def _write(self, block: str) -> None:
        name = self._folder / _named(block)
        with name.open("a", encoding="utf-8") as file:
            file.write(f"\n\n{block}" if name.stat().st_size else block)

    def _edit(self, name: str, line: str) -> None:
        """Replace the line that assigns the same name by this one."""
        assigning = re.compile(rf"^{name} = .*\n", re.M)
        edited = [path for path in self._folder.glob("*.py") if assigning.search(path.read_text(encoding="utf-8"))]
        assert edited, f"no file has a line to replace by {line}"
        for path in edited:
            path.write_text(assigning.sub(lambda _: line, path.read_text(encoding="utf-8")), encoding="utf-8")

    def _run_program(self, block: str) -> None:
        program = self._folder.with_name(f"{self._folder.name}.typed.py")
        program.write_text(block, encoding="utf-8")
        status, printed = self._enter(f"python -W error - <{shlex.quote(str(program))}")
        assert status == 0, f"{block}\n{self._evidence()}"
        promised = _PROMISE.findall(block)
        lines = printed.splitlines()
        assert len(lines) == len(promised), f"{block}\nprinted\n{printed}"
        for line, promise in zip(lines, promised, strict=True):
            assert line == promise or promise.startswith("such as: "), f"{block}\nprinted {line!r}"

    def _type_line(self, line: str) -> None:
        if line == "^C":
            self._stop_worker()
        elif line.startswith("$ posthorse worker "):
            self._start_worker(line[2:])
        elif line.startswith("$ "):
            status, printed = self._enter(line[2:])
            assert status == 0, f"{line}\n{printed}\n{self._evidence()}"
            if " -m venv " in line and self._is_lending:
                self._lend_dependencies()

    def _start_worker(self, command: str) -> None:
        assert self._worker is None, f"the page starts a second worker before it stopped the first: {command}"
        _, listed = self._enter("env -0 | base64 -w 0")
        environment = _decoded(listed)
        with self._log.open("ab") as log:
            self._worker = subprocess.Popen(
                ["bash", "-c", f"exec {command}"], cwd=self._folder, env=environment, stdout=log, stderr=log
            )

    def _stop_worker(self) -> None:
        assert self._worker is not None, "the page stops a worker that it has not started"
        self._worker.send_signal(signal.SIGINT)
        assert self._worker.wait(timeout=MINUTE) == 0, self._evidence()
        self._worker = None

    def _enter(self, line: str) -> tuple[int, str]:
        """Type a line into the shell; return its exit status and what it wrote to stdout."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{{ {line}\n}} </dev/null\nprintf '\\n{_ENDED} %s\\n' $?\n")
        self._shell.stdin.flush()
        printed = ""
        while f"\n{_ENDED} " not in printed:
            got = self._shell.stdout.readline()
            assert got, f"the shell ended at {line}\n{self._evidence()}"
            printed += got
        output, _, status = printed.rpartition(f"\n{_ENDED} ")
        return int(status), output

    def _lend_dependencies(self) -> None:
        """Take from this environment what a package index would provide beside Posthorse."""
        for site in (self._folder / ".venv").glob("lib/python*/site-packages"):
            lent = next(path for path in sys.path if path.endswith("site-packages"))
            (site / "lent.pth").write_text(f"{lent}\n", encoding="utf-8")

    def _evidence(self) -> str:
        worker = self._log.read_text(errors="replace") if self._log.exists() else ""
        return f"{self._said.read_text(errors='replace')[-3000:]}\nlog of the worker:\n{worker[-3000:]}"


def _named(block: str) -> str:
    found = _FILE.match(block)
    assert found is not None
    return found[1]


def _decoded(listed: str) -> dict[str, str]:
    entries = base64.b64decode(listed).decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def _environment(wheels: Path | None) -> dict[str, str]:
    """Return a new user's environment: without our variables, and with a `pip` that finds the wheels without a
    network."""
    ours = ("POSTHORSE_", "PYTHON") if wheels is None else ("POSTHORSE_", "PYTHON", "PIP_")
    kept = {
        **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "120",
    }
    if wheels is None:
        return kept
    return {
        **kept,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_NO_DEPS": "1",
        "PIP_IGNORE_INSTALLED": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
