"""Output for people: tables fit, texts can neither control the terminal nor imitate others, and nothing untrue is
said."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import click
import pytest
from rich.cells import cell_len

import posthorse as ph
from posthorse.cli.exits import Exit
from posthorse.cli.screen import clean
from tests.cli.conftest import Shop
from tests.cli.test_steering import work_off
from tests.waiting import until_state

STYLES = re.compile(r"\x1b\[[0-9;]*m")
EVIL = (
    "no \x1b[31muser\x1b[0m \x1b]8;;http://evil\x07link\x1b]8;;\x07\x1b[2J\x9b1A\r\nError: forged\x07 \u202e"
    + "失敗" * 60
)


@pytest.fixture
def crowded(any_shop: Shop) -> dict[str, str]:
    """Make jobs with names and texts that are long, wide or evil."""
    app = any_shop.app

    @app.job(
        kind="generate_weekly_report_for_every_customer_and_send_it", queue="reports-of-the-whole-company-for-ever"
    )
    def weekly(ctx: ph.Context) -> int:
        ctx.set_progress(3, 10, note=EVIL)
        return 3

    @app.job(kind="欢迎用户电子邮件通知任务", queue="邮件队列🚀", max_attempts=1)
    def wide() -> None:
        raise LookupError(EVIL)

    @app.job(kind='say "hi" \\ there', queue="mail")
    def put_off() -> None:
        raise ph.Snooze("1h", EVIL)

    @app.job(max_attempts=1, kind="picky")
    def picky(ctx: ph.Context) -> None:
        for batch in ctx.slices(range(3), name="loop 進行", tolerate=5):
            for item in batch:
                with batch.tolerate(f"{EVIL}{item}"):
                    raise ValueError(EVIL)

    app.queue("mail").set(weight=3, max_depth=10_000, rate="100/s", labels={})
    app.schedule(
        weekly.bind(), name="夜間 the report of the night, with a long name", cron="0 3 * * *", tz="Europe/Berlin"
    )
    jobs = {"weekly": weekly.enqueue(), "wide": wide.enqueue(), "put_off": put_off.enqueue(), "picky": picky.enqueue()}
    with app.worker():
        for job in jobs.values():
            until_state(job, "completed", "failed", "scheduled")
    put_off.using(queue="video").enqueue()
    return {name: job.id for name, job in jobs.items()}


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posthorse.cli.screen._is_terminal", lambda stream: True)
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("columns", [30, 60, 80, 120])
def test_tables_fit_the_terminal(
    any_shop: Shop, crowded: dict[str, str], columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with any_shop.working():
        lines = any_shop.run("workers").stdout.splitlines()
        assert len(lines) == 2
        assert all(cell_len(STYLES.sub("", line)) <= columns for line in lines), lines
    for words in (
        ["jobs"],
        ["jobs", "--filter", "state:failed"],
        ["queues"],
        ["schedules"],
        ["doctor"],
        ["bad-items", crowded["picky"]],
        ["show", crowded["weekly"]],
        ["show", crowded["put_off"]],
    ):
        lines = [STYLES.sub("", line) for line in any_shop.run(*words).stdout.splitlines()]
        assert lines, words
        assert all(cell_len(line) <= columns for line in lines), (words, lines)
        assert all(line == clean(line) for line in lines), (words, lines)
    jobs = any_shop.run("jobs")
    assert "picky" in jobs.stdout, "a kind can be read at any width"
    assert crowded["picky"][-8:] in jobs.stdout
    if columns == 30:
        assert jobs.stderr.startswith("The terminal is too narrow for QUEUE, AGE, PROGRESS.")
    if columns >= 80:
        assert "too narrow" not in jobs.stderr
        heading = any_shop.run("queues").stdout.splitlines()[0].split()
        assert {"QUEUE", "STATE", "WAITING", "RUNNING", "FAILED", "WORKERS"} <= {
            STYLES.sub("", word) for word in heading
        }


def test_a_pipe_gets_everything_uncut(any_shop: Shop, crowded: dict[str, str]) -> None:
    queues = any_shop.run("queues")
    assert "reports-of-the-whole-company-for-ever" in queues.stdout
    assert "SETTINGS" in queues.stdout
    assert (queues.stderr, any_shop.run("jobs").stderr) == ("", "")
    assert crowded["wide"] in any_shop.run("jobs").stdout


def test_texts_of_jobs_neither_steer_the_terminal_nor_forge_lines(any_shop: Shop, crowded: dict[str, str]) -> None:
    for words in (
        ["jobs"],
        ["show", crowded["wide"]],
        ["show", crowded["weekly"]],
        ["wait", crowded["wide"]],
        ["watch", crowded["wide"], crowded["weekly"]],
        ["bad-items", crowded["picky"], "--tracebacks"],
        ["run", "--resume", crowded["wide"]],
    ):
        result = any_shop.run(*words)
        printed = result.stdout + result.stderr
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", printed), words
        assert not re.search(r"(?<!x1b)\[31m", printed), "what is left of an order is no text"
        assert "evil" not in printed or "\\x1b" in printed  # the line of code itself may be quoted
        assert not [line for line in printed.splitlines() if line.startswith("Error: forged")], words
    told = json.loads(any_shop.done("show", crowded["wide"], "--json"))["error"]["message"]
    assert told == EVIL, "data is data"


def test_orders_to_terminals_are_left_out_whole() -> None:
    assert (
        clean("a\x1b[1;31mb\x1b[0mc\x1b]0;title\x07d\x1b]8;;x\x1b\\e\x9b2Jf\x1bPq\x1b\\g\x1bch\x1b(Bi") == "abcdefghi"
    )
    assert clean("\x1b") == ""
    assert clean("[31m stays") == "[31m stays"


def test_only_jobs_that_run_are_said_to_run(any_shop: Shop, crowded: dict[str, str]) -> None:
    assert "running for" not in any_shop.done("show", crowded["put_off"])
    assert "ago for the first time" in any_shop.done("show", crowded["put_off"])
    assert "took" in any_shop.done("show", crowded["weekly"])
    assert "of work" not in any_shop.done("show", crowded["weekly"]), "nothing is left of a job that is over"
    job = any_shop.done("enqueue", "endless")
    with any_shop.working():
        until_state(any_shop.app.get_job(job), "processing")
        assert "running for" in any_shop.done("show", job)
        any_shop.done("cancel", job, "--force")


def test_quiet_is_quiet(any_shop: Shop) -> None:
    app = any_shop.app
    seen: list[int] = []

    @app.job(max_attempts=2, backoff=0)
    def flaky(ctx: ph.Context) -> str:
        sys.stdout.write("words of the job\n")
        ctx.log.warning("a warning of the job")
        seen.append(1)
        if len(seen) == 1:
            raise ValueError("once")
        return "at last"

    result = any_shop.run("run", "flaky", "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, '"at last"\n', "")
    failed = any_shop.run("run", "broken", "no luck", "--quiet")
    assert failed.exit_code == Exit.JOB_FAILED
    assert re.fullmatch(r"Error: job [\w-]+ failed in 2 attempts: ValueError: no luck\n", failed.stderr)


def run_quietly(shop: Shop, *words: str) -> tuple[int, str, str]:
    """Run a command in a process of its own, with the logging of an application that does not configure it."""
    done = subprocess.run(
        [sys.executable, "-m", "posthorse", "run", *words, "--quiet"],
        cwd=shop.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_neither_a_stop_nor_a_retry_nor_words_of_the_job_are_told_with_quiet(shop: Shop) -> None:
    with (shop.folder / "shop.py").open("a", encoding="utf-8") as file:
        file.write(
            "\n@app.job(max_attempts=2, backoff=0)\n"
            "def talkative(ctx: ph.Context) -> str:\n"
            "    print('words of the job')\n"
            "    ctx.log.warning('a warning of the job')\n"
            "    if ctx.attempt == 1:\n"
            "        raise ValueError('once')\n"
            "    return 'at last'\n"
        )
    assert run_quietly(shop, "talkative") == (0, '"at last"\n', "")
    assert run_quietly(shop, "endless", "--timeout", "100ms") == (Exit.TIMED_OUT, "", "")


def test_options_before_a_subcommand_count(any_shop: Shop) -> None:
    job = any_shop.done("enqueue", "welcome", "7")
    any_shop.close()
    elsewhere = ["--url", f"sqlite:///{any_shop.folder}/other.db"]
    result = any_shop.run("queues", *elsewhere, "--json", "pause", "mail")
    assert (result.exit_code, json.loads(result.stdout)["state"]) == (0, "paused")
    assert [queue["state"] for queue in json.loads(any_shop.done("queues", "--json"))] == ["open"]
    assert any_shop.run("schedules", *elsewhere, "next", "nightly").exit_code == Exit.NOT_FOUND
    work_off(any_shop, job)


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "posthorse", "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, click.unstyle(done.stdout).split()[0]) == (0, "posthorse")
