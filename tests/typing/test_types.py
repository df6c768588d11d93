"""Types of the public face, according to mypy and pyright: every type as promised, every wrong call an error."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from posthorse.rules.options.option import OptionPlace
from posthorse.rules.options.table import options_at

ROOT = Path(__file__).parents[2]
SAMPLE = Path(__file__).with_name("kinds.py.txt")
CALLS = (
    (OptionPlace.JOB, "app.job({})"),
    (OptionPlace.JOB, "bundle.job({})"),
    (OptionPlace.JOB, "bus.register(Double, {})"),
    (OptionPlace.USING, "welcome.using({})"),
    (OptionPlace.USING, "bus.using({})"),
    (OptionPlace.ON, "app.on(ph.events.DeadLettersGrew, {})"),
    (OptionPlace.SCHEDULE, "app.schedule(welcome.bind(1), {})"),
    (OptionPlace.QUEUE, 'app.queue("mail", {})'),
    (OptionPlace.QUEUE, "mail.set({})"),
    (OptionPlace.QUEUE, "mail.aset({})"),
    (OptionPlace.SETTING, "ph.Posthorse({})"),
)


def sample_text() -> str:
    """Return the sample, with each option added once with a value of the wrong type, and once with a wrong name."""
    lines = [
        f"{call.format(given)}  # E"
        for place, call in CALLS
        for name in options_at(place)
        for given in (f"{name}=object()", f"{name}_x=None")
    ]
    return "\n".join([SAMPLE.read_text(encoding="utf-8"), *lines, ""])


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """Write the sample under a name that checkers read. It has errors, so it is not a module of this project."""
    path = tmp_path / "kinds.py"
    path.write_text(sample_text(), encoding="utf-8")
    return path


def marked() -> set[int]:
    """Return the lines that must be errors."""
    lines = sample_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# E")}


def compare(found: dict[int, str]) -> None:
    lines = sample_text().splitlines()
    missing = {number: lines[number - 1] for number in marked() - found.keys()}
    surplus = {number: found[number] for number in found.keys() - marked()}
    assert (missing, surplus) == ({}, {})


@pytest.mark.timeout(300)
def test_mypy_finds_the_wrong_calls_and_no_others(sample: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        "--python-version=3.11",
        "--no-error-summary",
    ]
    ran = subprocess.run(
        [*command, f"--cache-dir={ROOT}/.mypy_cache/typing", str(sample)],
        cwd=sample.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    errors = re.findall(r"^kinds\.py:(\d+): error: (.*)$", ran.stdout, re.MULTILINE)
    assert errors, ran.stdout + ran.stderr
    compare({int(line): message for line, message in errors})


@pytest.mark.timeout(300)
def test_pyright_finds_the_wrong_calls_and_no_others(sample: Path) -> None:
    settings = {"include": [sample.name], "typeCheckingMode": "strict", "pythonVersion": "3.11"}
    (sample.parent / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", f"--pythonpath={sys.executable}", "-p", str(sample.parent)],
        cwd=sample.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(ran.stdout)["generalDiagnostics"]
    compare(
        {
            1 + each["range"]["start"]["line"]: each["message"]
            for each in found
            if each["severity"] == "error" and each.get("rule") != "reportUnusedFunction"
        }
    )
