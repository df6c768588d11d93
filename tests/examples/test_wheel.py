"""What is installed: a wheel with its description, its version, and everything that the code needs."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from posthorse.version import VERSION

ROOT = Path(__file__).parents[2]


def test_the_wheel_describes_itself_and_is_whole(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        names = set(files.namelist())
        [name] = [name for name in names if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(files.read(name).decode())
    assert (metadata["Name"], metadata["Version"]) == ("posthorse", VERSION)
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert str(metadata.get_payload()).strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()
    assert metadata["Author"]
    package = ROOT / "src" / "posthorse"
    needed = {f"posthorse/{path.relative_to(package)}" for path in package.rglob("*") if path.suffix in (".py", ".sql")}
    assert needed | {"posthorse/py.typed"} <= names
