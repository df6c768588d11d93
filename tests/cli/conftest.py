"""The fixtures of these tests: a small application in a folder of its own, and two ways to run commands there."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result

import posthorse as ph
from posthorse.app.loading import load_application
from posthorse.cli.root import root

SHOP = """
import asyncio
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import posthorse as ph

app = ph.Posthorse()


class Size(Enum):
    SMALL = "small"


@dataclass
class Order:
    item: str
    count: int


@app.job(queue="mail")
def welcome(user_id: int, name: str = "") -> str:
    return f"welcome {user_id} {name}"


@app.job
def anything(value, *more, **named):
    return [value, list(more), named]


@app.job
def typed(when: datetime, numbers: list[int], size: Size, order: Order, *words: str) -> None: ...


@app.job(queue="reports")
def count(ctx: ph.Context, n: int) -> int:
    for batch in ctx.slices(range(n), size=10):
        list(batch)
    return ctx.progress.done


@app.job(max_attempts=2, backoff=0)
def broken(why: str) -> None:
    raise ValueError(why)


@app.job
async def endless() -> None:
    await asyncio.sleep(3600)
"""


class Shop:
    """The folder of the application, and a terminal in it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self._started: list[subprocess.Popen[str]] = []

    @property
    def app(self) -> ph.Posthorse:
        return load_application("shop:app")

    @contextmanager
    def working(self, *, queues: Sequence[str] = (), concurrency: int = 10) -> Iterator[None]:
        """Run a worker that shares nothing with commands in this process, because each of them closes its store at its
        end."""
        name = "shop_at_work"
        spec = importlib.util.spec_from_file_location(name, self.folder / "shop.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        app = load_application(f"{name}:app")
        with closing(app), app.worker(queues=queues, concurrency=concurrency):
            yield

    def run(self, *words: str, input: str | None = None) -> Result:
        """Run a command in this process, without a terminal."""
        return CliRunner().invoke(root, list(words), input=input, prog_name="posthorse")

    def done(self, *words: str, input: str | None = None) -> str:
        """Return what a command prints, without the last line break. It must succeed."""
        result = self.run(*words, input=input)
        assert result.exit_code == 0, result.output
        return result.stdout.removesuffix("\n")

    def json(self, *words: str) -> object:
        """Return the JSON value that a command prints."""
        return json.loads(self.run(*words, "--json").stdout)

    def listed(self, *words: str) -> list[dict[str, Any]]:
        """Return the jobs that `jobs` lists."""
        return cast("dict[str, list[dict[str, Any]]]", self.json("jobs", *words))["jobs"]

    def start(
        self, *words: str | bytes, stdin: int | None = subprocess.DEVNULL, stdout: int | None = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        process = subprocess.Popen(
            self.command(*words),
            cwd=self.folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def command(self, *words: str | bytes) -> Sequence[str | bytes]:
        return [sys.executable, "-c", "from posthorse.cli import main; main()", *words]

    def forget(self) -> None:
        """Let the next command import the application again, with changes to its file."""
        sys.modules.pop("shop", None)
        importlib.invalidate_caches()

    def close(self) -> None:
        """End the commands that a failed test left running, and close the store if it was opened."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.communicate()
        if "shop" in sys.modules:
            self.app.close()


def make_shop(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Shop:
    (tmp_path / "shop.py").write_text(SHOP, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POSTHORSE_URL", url)
    monkeypatch.setenv("POSTHORSE_APP", "shop:app")
    monkeypatch.setenv("POSTHORSE_GRACE", "100ms")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "apsw", raising=False)  # as in a process in which no other test ran
    return Shop(tmp_path, url)


@pytest.fixture(autouse=True, scope="session")
def commands_hear_interrupts() -> Iterator[None]:
    """Handle SIGINT: a script starts background jobs, such as these tests, with SIGINT ignored, and commands inherit
    that."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def forgets_modules_of_users() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith(("posthorse", "rich", "psycopg")):
            del sys.modules[name]


@pytest.fixture
def shop(tmp_path: Path, new_sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Yield an application on SQLite, whose file does not exist yet: commands that only look must not make it."""
    shop = make_shop(tmp_path, new_sqlite_url, monkeypatch)
    yield shop
    shop.close()


@pytest.fixture
def any_shop(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Yield an application on each store."""
    shop = make_shop(tmp_path, store_url, monkeypatch)
    yield shop
    shop.close()
