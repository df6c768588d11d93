"""`run`: one job here and now, which resumes where it was interrupted, and never runs twice at once."""

from __future__ import annotations

import json
import signal
import socket
import subprocess

import pytest

from posthorse.cli.exits import Exit
from tests.cli.conftest import Shop
from tests.cli.test_processes import seen_on_a_terminal
from tests.waiting import until

MORE = """

import os, time


@app.job
def slow(ctx: ph.Context, n: int = 1000) -> int:
    for batch in ctx.slices(range(n), size=1):
        with open("begun.txt", "a") as begun:
            print(batch[0], os.getpid(), file=begun)
        time.sleep(0.05)
    return ctx.progress.done


@app.job(max_attempts=3, backoff="300ms")
def flaky() -> str:
    with open("tries.txt", "a+") as tries:
        print("try", file=tries)
        tries.seek(0)
        if len(tries.readlines()) < 3:
            raise ValueError("not yet")
    return "at last"


@app.job
async def talks(x: int) -> dict[str, int]:
    print("words of the job")
    return {"x": x}


@app.job
def deaf() -> None:
    open("deaf.txt", "w").close()
    time.sleep(3600)
"""


@pytest.fixture
def shop(shop: Shop) -> Shop:
    with_more(shop)
    return shop


def with_more(shop: Shop) -> None:
    with (shop.folder / "shop.py").open("a") as module:
        module.write(MORE)


def begun(shop: Shop) -> list[tuple[int, int]]:
    """Return the items that began, each with its process."""
    path = shop.folder / "begun.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(item), int(pid)) for item, pid in map(str.split, lines)]


def started(shop: Shop, *words: str, items: int = 3) -> subprocess.Popen[str]:
    """Start `run slow` in a process of its own."""
    before = len(begun(shop))
    process = shop.start("run", "slow", *words)
    until(lambda: len(begun(shop)) >= before + items or process.poll() is not None, what="some slices are begun")
    return process


def interrupted(shop: Shop, *words: str) -> str:
    """Interrupt a run halfway; return the id of its job."""
    process = started(shop, *words)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == Exit.INTERRUPTED, told
    [job] = [look for look in shop.listed() if look["state"] == "pending"]
    assert f"--resume {job['id']}" in told
    return str(job["id"])


# ── what it does ─────────────────────────────────────────────────────────────────────────────────────


def test_result_is_all_that_goes_to_stdout(any_shop: Shop) -> None:
    with_more(any_shop)
    any_shop.done("migrate")
    result = any_shop.run("run", "talks", "7")
    assert (result.exit_code, result.stdout) == (0, '{"x":7}\n')
    assert "words of the job" in result.stderr
    assert "talks completed" in result.stderr
    assert any_shop.done("run", "count", "25", "--quiet") == "25"
    assert any_shop.run("run", "typed").exit_code == Exit.USAGE


def test_nothing_is_said_of_what_went_well_with_quiet(shop: Shop) -> None:
    result = shop.run("run", "anything", "null", "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "[null,[],{}]\n", "")


def test_errors_are_retried_in_place(shop: Shop) -> None:
    result = shop.run("run", "flaky")
    assert (result.exit_code, result.stdout) == (0, '"at last"\n')
    assert "ValueError" in result.stderr


def test_failure_and_cancellation_end_with_their_codes(shop: Shop) -> None:
    result = shop.run("run", "broken", "no luck", "--quiet")
    assert (result.exit_code, result.stdout) == (Exit.JOB_FAILED, "")
    assert "ValueError: no luck" in result.stderr
    told = json.loads(shop.run("run", "broken", "no luck", "--json").stdout)
    assert (told["state"], told["result"], told["error"]["message"]) == ("failed", None, "no luck")

    process = started(shop)
    [job] = shop.listed("--state", "processing")
    shop.done("cancel", job["id"])
    process.communicate(timeout=30)
    assert process.returncode == Exit.CANCELLED


def test_no_other_job_is_started(shop: Shop) -> None:
    others = [shop.done("enqueue", "count", "5"), shop.done("enqueue", "welcome", "1")]
    assert shop.done("run", "count", "5", "--quiet") == "5"
    assert shop.done("run", "count", "6", "--quiet", "--new") == "6"
    assert [shop.app.get_job(job).status().state for job in others] == ["pending", "pending"]


def test_idle_worker_does_not_snatch_the_job(any_shop: Shop) -> None:
    with_more(any_shop)
    any_shop.done("migrate")
    with any_shop.app.worker():
        process = any_shop.start("run", "slow", "3", "--json")
        data, words = process.communicate(timeout=30)
    assert process.returncode == 0, words
    assert begun(any_shop) == [(item, process.pid) for item in range(3)]
    assert any_shop.app.get_job(json.loads(data)["id"]).status().run_at is None  # its early start is forgotten


# ── going on ─────────────────────────────────────────────────────────────────────────────────────────


def test_interrupted_run_goes_on_with_the_same_command(shop: Shop) -> None:
    job = interrupted(shop, "30")
    stopped_at = shop.app.get_job(job).status().progress.done
    assert 0 < stopped_at < 30
    assert shop.done("run", "slow", "30", "--quiet") == "30"
    items = [item for item, _ in begun(shop)]
    assert items == list(range(30))  # every slice once: it stopped between two of them
    assert json.loads(shop.done("run", "slow", "2", "--json", "--quiet"))["id"] != job


def test_killed_run_goes_on_from_its_last_slice(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHORSE_LEASE", "3s")  # the test waits until the lease ends
    process = started(shop, "20")
    process.kill()
    process.communicate()
    assert shop.done("run", "slow", "20", "--quiet") == "20"
    first, second = (
        [item for item, pid in begun(shop) if (pid == process.pid) is is_first] for is_first in (True, False)
    )
    assert second[0] in (first[-1], first[-1] + 1)
    assert second[-1] == 19
    [job] = shop.listed()
    assert (job["state"], job["attempt"]) == ("completed", 1)


def test_completed_run_starts_anew(any_shop: Shop) -> None:
    any_shop.done("migrate")
    ids = {
        json.loads(any_shop.done("run", "count", "5", *words, "--json", "--quiet"))["id"]
        for words in ((), (), ("--key", "nightly"), ("--key", "nightly"))
    }
    assert len(ids) == 4


def test_named_run_goes_on_whatever_options_say_and_refuses_other_arguments(shop: Shop) -> None:
    job = interrupted(shop, "12", "--key", "nightly")
    assert shop.run("run", "slow", "13", "--key", "nightly").exit_code == Exit.CONFLICT
    told = json.loads(shop.done("run", "slow", "12", "--key", "nightly", "--quiet", "--json"))
    assert (told["id"], told["result"]) == (job, 12)
    assert shop.done("run", "slow", "1", "--key", "nightly", "--quiet") == "1"  # the job is over, so its key is free


def test_named_job_goes_on_here(shop: Shop) -> None:
    job = interrupted(shop, "8", "--new")
    shop.done("pause", job)
    assert shop.done("run", "--resume", job[-8:], "--quiet") == "8"
    assert shop.run("run", "--resume", job).exit_code == Exit.CONFLICT  # completed
    failed = json.loads(shop.run("run", "broken", "x", "--json", "--quiet").stdout)["id"]
    assert shop.run("run", "--resume", failed, "--quiet").exit_code == Exit.JOB_FAILED
    assert shop.run("run", "--resume", "01936f5e-7c1a-7d2b-8e3f-0123456789ab").exit_code == Exit.NOT_FOUND


def test_paused_run_waits_for_whoever_paused_it(shop: Shop) -> None:
    job = interrupted(shop, "9")
    shop.done("pause", job)
    result = shop.run("run", "slow", "9")
    assert result.exit_code == Exit.CONFLICT
    assert f"--resume {job}" in result.stderr


def test_time_that_is_over_stops_the_job_where_it_goes_on(shop: Shop) -> None:
    process = shop.start("run", "slow", "1000", "--timeout", "1500ms")
    _, words = process.communicate(timeout=30)
    assert process.returncode == Exit.TIMED_OUT
    assert "Stopped after 1500ms at " in words
    assert shop.run("run", "slow", "1000", "--timeout", "soon").exit_code == Exit.USAGE


# ── never twice at once ──────────────────────────────────────────────────────────────────────────────


def test_run_that_runs_already_is_not_started_again(any_shop: Shop) -> None:
    with_more(any_shop)
    any_shop.done("migrate")
    process = started(any_shop, "40")
    second = any_shop.run("run", "slow", "40")
    assert second.exit_code == Exit.CONFLICT, second.stderr
    assert f"runs already, in process {process.pid} of {socket.gethostname()}" in second.stderr
    waiting = any_shop.start("run", "slow", "40", "--wait", "--quiet")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    data, _ = waiting.communicate(timeout=30)
    assert (waiting.returncode, data) == (0, "40\n")  # it took the job over
    assert {pid for _, pid in begun(any_shop)} == {process.pid, waiting.pid}


def test_second_signal_ends_at_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHORSE_GRACE", "10m")
    process = shop.start("run", "deaf")
    assert process.stderr is not None
    until(lambda: (shop.folder / "deaf.txt").exists(), what="the job begins")
    process.send_signal(signal.SIGINT)
    told = ""
    while "once more" not in told:
        told = process.stderr.readline()
        assert told
    process.send_signal(signal.SIGINT)
    _, words = process.communicate(timeout=30)
    assert process.returncode == Exit.INTERRUPTED
    assert "Ended at once" in words


def test_job_that_does_not_stop_cannot_keep_the_process(shop: Shop) -> None:
    process = shop.start("run", "deaf")
    until(lambda: (shop.folder / "deaf.txt").exists(), what="the job begins")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)  # the grace is 100 ms
    assert process.returncode == Exit.INTERRUPTED


def test_misuse_ends_with_two(shop: Shop) -> None:
    for words in (
        [],
        ["--resume", "01936f5e", "count"],
        ["count", "5", "--key", "a", "--new"],
        ["--resume", "01936f5e", "--new"],
        ["nothing"],
        ["count", "many"],
    ):
        assert shop.run("run", *words).exit_code == Exit.USAGE, words


def test_bar_is_drawn_on_a_terminal(shop: Shop) -> None:
    seen = seen_on_a_terminal(shop, "run", "slow", "12")
    assert "● processing" in seen
    assert "━" in seen
    assert "✓ completed" in seen
    assert seen.rstrip().endswith("12")


def test_a_drained_queue_takes_no_new_run_and_lets_an_earlier_one_go_on(shop: Shop) -> None:
    shop.done("migrate")
    shop.done("queues", "drain", "default")
    for words in (["talks", "1"], ["--new", "talks", "1"]):
        result = shop.run("run", *words)
        assert result.exit_code == Exit.CONFLICT, result.stderr
        assert "is being drained" in result.stderr
    shop.done("queues", "resume", "default")
    begun = shop.start("run", "slow", "40")
    until((shop.folder / "begun.txt").exists)
    begun.send_signal(signal.SIGINT)
    begun.communicate()
    shop.done("queues", "drain", "default")
    result = shop.run("run", "slow", "40")
    assert (result.exit_code, result.stdout.strip()) == (0, "40")


def test_what_on_start_raises_is_told_as_such(shop: Shop) -> None:
    module = shop.folder / "shop.py"
    before = module.read_text()
    module.write_text(before + "\n\n@app.on_start\ndef up():\n    raise RuntimeError('no model')\n")
    process = shop.start("run", "welcome", "7")
    data, said = process.communicate(timeout=30)
    assert (process.returncode, data) == (Exit.DEFECT, "")
    [job] = shop.listed()
    assert said.startswith(
        "Error: up(), a function of on_start, raised RuntimeError: no model; so the job did not start"
    )
    assert f"--resume {job['id']}" in said
    assert len(said.splitlines()) == 1
    module.write_text(before)
    process = shop.start("run", "welcome", "7")
    assert process.communicate(timeout=30)[0] == '"welcome 7 "\n'
    assert [each["id"] for each in shop.listed()] == [job["id"]]


def test_hints_name_the_application_that_was_given(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTHORSE_APP")
    said = shop.run("run", "broken", "no luck", "--app", "shop:app").stderr
    [job] = shop.listed("--app", "shop:app")
    assert (
        f"See `posthorse show {job['id']} --app shop:app`; `posthorse run --resume {job['id']} --app shop:app`" in said
    )
    other = shop.done("enqueue", "welcome", "7", "--app", "shop:app")
    assert f"To do: posthorse why {other[-8:]} --app shop:app" in shop.done("show", other, "--app", "shop:app")
    shop.done("cancel", other, "--app", "shop:app")
    waiting = shop.done("enqueue", "welcome", "8", "--app", "shop:app")
    why = shop.done("why", other, "--app", "shop:app", "--url", shop.url)
    assert f"posthorse retry {other} --app shop:app --url {shop.url}" in why
    with pytest.raises(TimeoutError, match=r"see `posthorse why \S+ --app shop:app`"):
        shop.app.get_job(waiting).result(timeout=0.01)
