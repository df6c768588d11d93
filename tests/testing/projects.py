"""Projects of users: a folder with an application and tests, which pytest runs in a process of its own.

The plugin is loaded by its name, so that these tests do not depend on how the working tree is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

SHOP = """
import posthorse as ph

app = ph.Posthorse("sqlite:////nowhere/shop.db")


@app.job(queue="mail")
def welcome(user_id: int) -> int:
    return user_id
"""


def write(folder: Path, **files: str) -> None:
    """Write modules of a project, by their names."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(dedent(text), encoding="utf-8")


def run_tests(folder: Path, *arguments: str, plugins: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run pytest in a project, with this plugin and the given ones, and without all others."""
    loaded = [word for name in ("posthorse.testing.plugin", *plugins) for word in ("-p", name)]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *loaded, *arguments],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(folder), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=200,
    )


def passes(folder: Path, *arguments: str, plugins: tuple[str, ...] = ()) -> str:
    """Run the tests of a project; return what pytest printed if all passed. Raises AssertionError."""
    ran = run_tests(folder, *arguments, plugins=plugins)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
