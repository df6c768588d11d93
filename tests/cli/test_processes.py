"""The command as a process: broken pipes, closed streams, signals, terminals, a real worker."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthorse.store.operations.runners import Runner, register
from tests.cli.conftest import Shop
from tests.cli.test_doctor import verdicts
from tests.waiting import PATIENCE, until, until_state


@contextlib.contextmanager
def working(shop: Shop, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run a worker, from its first runner to its end."""
    worker = shop.start("worker", *words)
    try:
        until(lambda: shop.json("workers"), what="the worker is on the list")
        yield worker
    finally:
        worker.kill()
        worker.communicate()


def seen_on_a_terminal(shop: Shop, *words: str, columns: int = 80, lines: int = 24, **environment: str) -> str:
    """Return everything that a command writes to a terminal of this size."""
    ours, theirs = pty.openpty()
    size = {"COLUMNS": str(columns), "LINES": str(lines), "TERM": "xterm-256color"}
    process = subprocess.Popen(
        shop.command(*words),
        cwd=shop.folder,
        env={**os.environ, **size, **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and select.select([ours], [], [], 60)[0]:
        try:
            read = os.read(ours, 65_536)
        except OSError:  # the other side is closed
            break
        seen += read
    os.close(ours)
    process.wait()
    return seen.decode().replace("\r\n", "\n")


def test_reader_that_goes_away_ends_the_command_quietly(shop: Shop) -> None:
    shop.done("enqueue", "welcome", "7")
    reader, writer = os.pipe()
    process = shop.start("jobs", stdout=writer)
    os.close(writer)
    os.close(reader)
    _, words = process.communicate(timeout=30)
    assert (process.returncode, words) == (141, "")


@pytest.mark.parametrize("redirection", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_no_harm(shop: Shop, redirection: str) -> None:
    command = f'"{sys.executable}" -c "from posthorse.cli import main; main()"'
    script = f"{command} enqueue welcome 7 {redirection}"
    done = subprocess.run(["sh", "-c", script], cwd=shop.folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(shop.done("jobs").split("\n")) == 2


def test_closed_streams_are_filled_before_a_file_takes_their_place() -> None:
    script = "import os; from posthorse.cli import root; root._fill_standard_descriptors(); os._exit(os.dup(1))"
    done = subprocess.run(["sh", "-c", f"{sys.executable} -c '{script}' <&- 2>&-"], check=False)
    assert done.returncode > 2


def test_arguments_from_a_closed_stdin_are_refused(shop: Shop) -> None:
    command = f'"{sys.executable}" -c "from posthorse.cli import main; main()"'
    done = subprocess.run(
        ["sh", "-c", f"{command} enqueue welcome - <&-"], cwd=shop.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "stdin" in done.stderr
    assert "Traceback" not in done.stderr


def test_argument_that_is_no_utf_8_is_refused(shop: Shop) -> None:
    process = shop.start("enqueue", "welcome", "7", b"\xff\xfe")
    _, words = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "not valid UTF-8" in words


@pytest.mark.parametrize("verb", ["wait", "watch"])
def test_interrupt_ends_the_command_and_not_the_job(shop: Shop, verb: str) -> None:
    job, over = shop.done("enqueue", "welcome", "7"), shop.done("enqueue", "welcome", "8")
    shop.app.get_job(over).cancel()
    process = shop.start(verb, *((over, job) if verb == "wait" else (job,)), "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["state"]  # it has claimed the job, which is therefore not over
    process.send_signal(signal.SIGINT)
    _, words = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in words
    assert shop.app.get_job(job).status().state == "pending"


def test_worker_greets_works_and_stops_when_told(shop: Shop) -> None:
    job = shop.app.get_job(shop.done("enqueue", "welcome", "7"))
    other = shop.app.get_job(shop.done("enqueue", "count", "5"))
    with working(shop, "-q", "mail", "--concurrency", "3") as worker:
        until_state(job, "completed")
        worker.send_signal(signal.SIGTERM)
        data, words = worker.communicate(timeout=30)
    assert worker.returncode == 0
    assert data == ""
    assert re.search(r"queues +mail", words)
    assert "1 × 3 at once" in words
    assert "kinds   anything, broken, count" in words
    assert other.status().state == "pending"


def test_worker_of_another_store_than_the_applications_tells_both(shop: Shop, tmp_path: Path) -> None:
    worker = shop.start("worker", "--url", f"sqlite:///{tmp_path}/other.db")
    try:
        assert worker.stderr is not None
        words = ""
        while "runner 0 started" not in words and (line := worker.stderr.readline()):
            words += line
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=30)
    assert f"--url leads to {tmp_path}/other.db, but the application's own store is {tmp_path}/jobs.db" in words


def test_worker_of_another_application_with_the_same_kinds_is_told_of(shop: Shop) -> None:
    shop.done("migrate")
    places = {"welcome": "bank.mail:welcome"}
    bank = Runner(str(uuid.uuid4()), "bank:1", "h", 1, "0", 2, (), ("welcome",), places=places)
    shop.app.store.run(register(bank, lease=600_000_000))
    worker = shop.start("worker", "-q", "mail")
    told = ""
    in_vain = threading.Timer(PATIENCE, worker.kill)
    in_vain.start()
    try:
        assert worker.stderr is not None
        while "bank.mail" not in told and (told := worker.stderr.readline()):
            pass
        found = verdicts(shop)
    finally:
        in_vain.cancel()
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=30)
    assert "kind welcome is shop:welcome here and bank.mail:welcome in worker bank:1" in told
    assert found["namesakes"] == "warning"
    assert verdicts(shop)["namesakes"] == "ok"


@pytest.mark.parametrize(
    "words",
    [["--processes", "0"], ["--concurrency", "0"], ["--concurrency", "many"], ["-q", "*"], ["--app", "gone:app"]],
)
def test_worker_that_cannot_work_ends_with_two(shop: Shop, words: list[str]) -> None:
    result = shop.run("worker", *words)
    assert result.exit_code == 2
    assert "Error:" in result.stderr


# ── on a terminal ────────────────────────────────────────────────────────────────────────────────────


def test_table_fits_the_terminal(shop: Shop) -> None:
    job = shop.done("enqueue", "welcome", "7", "--queue", "日本語のとても長い名前のキューです" * 3)
    for columns in (60, 100):
        seen = re.sub(r"\x1b\[[\d;]*m", "", seen_on_a_terminal(shop, "jobs", columns=columns))
        heading, row = seen.rstrip().split("\n")
        assert heading.rstrip().endswith("ID")
        assert row.endswith(job[-8:])
        assert "…" in row
        assert len(row) + sum(ord(character) > 0x3000 for character in row) <= columns


def test_wide_terminal_shows_whole_ids(shop: Shop) -> None:
    job = shop.done("enqueue", "welcome", "7")
    assert job in seen_on_a_terminal(shop, "jobs", columns=140)


def test_colours_are_for_terminals_that_want_them(shop: Shop) -> None:
    shop.done("enqueue", "welcome", "7", "--delay", "1h")
    assert "\x1b[34m" in seen_on_a_terminal(shop, "jobs")
    assert "\x1b[34m" not in seen_on_a_terminal(shop, "jobs", NO_COLOR="1")
    assert "\x1b" not in seen_on_a_terminal(shop, "jobs", TERM="dumb")
    assert "\x1b" not in shop.done("jobs")


def test_watch_draws_bars_on_a_terminal_until_all_is_over(shop: Shop) -> None:
    jobs = [shop.done("enqueue", "count", "2000") for _ in range(2)]
    with shop.app.worker():
        seen = seen_on_a_terminal(shop, "watch", *jobs)
    assert "✓ completed" in seen
    assert "2,000 in" in seen
    assert seen.endswith("\x1b[?25h")  # the cursor is visible again
    for job in jobs:
        assert shop.app.get_job(job).status().state == "completed"


def test_watch_on_a_dumb_terminal_prints_lines(shop: Shop) -> None:
    job = shop.done("enqueue", "welcome", "7")
    shop.done("cancel", job)
    assert "\x1b" not in seen_on_a_terminal(shop, "watch", job, TERM="dumb")
