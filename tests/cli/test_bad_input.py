"""Bad input on the command line and in configuration: one sentence on stderr, an exit code, and nothing written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Shop

LONG = "9" * 5_000
MAX_COMPLAINT = 1_000
ID = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"


def complaint(shop: Shop, *words: str, code: int = 2) -> str:
    """Return what a command prints that must be refused."""
    result = shop.run(*words)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.stderr
    assert len(result.stderr) <= MAX_COMPLAINT
    return result.stderr


def is_untouched(shop: Shop) -> bool:
    """Return whether no store was created."""
    return not list(shop.folder.glob("**/*.db*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        # what is typed wrong
        ("jobs --stat failed", "Did you mean '--state'?"),
        ("jobs --zzz", "no such option '--zzz'"),
        ("enqueu welcome 7", "did you mean 'enqueue'?"),
        ("queues paus mail", "Did you mean 'pause'?"),
        ("schedules nxt report", "Did you mean 'next'?"),
        ("workers extra", "unexpected extra argument"),
        ("jobs --state bogus", "not one of 'scheduled'"),
        ("jobs -n 0", "not in the range"),
        ("jobs --filter stat:failed", "did you mean 'state'?"),
        ("jobs --filter state:failed(", "no state is called"),
        (f"jobs --filter x{LONG}", "must be 1 to 200"),
        (f"jobs --state {LONG}", "'cancelled'"),
        ("enqueue welcome -5", "Write -- before"),
        # numbers, times, names
        (f"enqueue welcome 7 --priority {LONG}", "--priority"),
        ("enqueue welcome 7 --priority -2147483648", "from -100 to 100"),
        ("enqueue welcome 7 --max-attempts 1000000000", "from 1 to 1,000"),
        (f"enqueue welcome 7 --delay {LONG}", "between 0 and 100 years"),
        ("enqueue welcome 7 --delay -1", "is not a duration"),
        ("enqueue welcome 7 --run-at 2030-01-01T00:00:00", "a moment with its zone"),
        ("enqueue welcome 7 --run-at 10000-01-01T00:00:00Z", "a moment with its zone"),
        ("enqueue welcome 7 --run-at 9999-12-31T23:59:59-14:00", "more than a century ahead"),
        (f"enqueue welcome 7 --key {LONG}", "a text of 1 to 512 characters"),
        (f"enqueue welcome 7 --tenant {LONG}", "tenant is"),
        ("enqueue welcome 7 " + " ".join(f"--tag t{number}" for number in range(51)), "51 tags"),
        ("run welcome 7 --timeout 0", "--timeout must be longer than zero"),
        ("run welcome 7 --timeout -1", "--timeout is '-1'"),
        ("wait 0123abcd --timeout inf", "--timeout is 'inf'"),
        ("worker -q *", "queue is '*'"),
        ("queues pause *", "queue is '*'"),
        ("queues set mail wieght=3", "did you mean 'weight'?"),
        ("queues set mail weight=3 weight=4", "'weight' is set twice"),
        ("queues set mail weight", "has no value"),
        ("queues set mail labels=" + "[" * 5_000, "label"),
        ("queues reset mail wieght", "did you mean 'weight'?"),
        (f"show {LONG}", "is not a job id"),
        ("cancel ../../etc/passwd", "is not a job id"),
        # files and targets
        ("enqueue anything @missing.json", "cannot read missing.json: No such file"),
        (f"enqueue anything @{LONG}", "File name too long"),
        ("enqueue anything @.", "Is a directory"),
        ("enqueue anything @/dev/zero", "holds more than"),
        ("enqueue welcome --from-file /dev/zero", "has a line of more than"),
        ("enqueue welcome --from-file -", "stdin holds no jobs"),
        ("enqueue welcome 7 --app shop:welcome", "it has shop:app"),
        ("enqueue welcome 7 --app os:system", "no application of Posthorse"),
        ("enqueue welcome 7 --app shop:app()", "names no application"),
        ("enqueue welcome 7 --app ../shop:app", "names no application"),
        # addresses
        ("enqueue welcome 7 --url sqlite:///:memory:", "lost with its process"),
        ("enqueue welcome 7 --url sqlite:///jobs.db?mode=memory", "takes no options"),
        ("jobs --url mysql://ada:canary@host/db", "mysql://… (its rest may hold a password) is not the address"),
        ("jobs --url postgresql://ada:canary/w%d@127.0.0.1/db", "%40 for an @"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(shop: Shop, words: str, said: str) -> None:
    told = complaint(shop, *words.split())
    assert said in told
    assert "canary" not in told
    assert is_untouched(shop)


@pytest.mark.parametrize("words", [["--from-file", ""], ["@"], ["--run-at", ""], ["--priority", ""], ["--delay", ""]])
def test_nothing_at_all_is_no_value(shop: Shop, words: list[str]) -> None:
    complaint(shop, "enqueue", "welcome", *words)
    assert is_untouched(shop)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that opens and cannot be read is Linux's")
def test_file_that_fails_while_it_is_read_is_told(shop: Shop) -> None:
    assert "cannot read /proc/self/mem: Input/output error" in complaint(shop, "enqueue", "anything", "@/proc/self/mem")


# ── who looks makes nothing ──────────────────────────────────────────────────────────────────────────

READERS = (
    "jobs", "jobs --filter state:failed", "queues", "schedules", "workers", "watch", f"show {ID}", f"wait {ID}",
    f"why {ID}", f"logs {ID}", f"logs -f {ID}", f"bad-items {ID}", "events", "events -f", "watch -f", f"cancel {ID}",
    f"retry {ID}", "discard --all state:failed", "schedules pause report", "queues reset mail",
)  # fmt: skip


@pytest.mark.parametrize("words", [*READERS, "queues pause mail", "queues set mail weight=3"])
def test_folder_that_is_not_there_is_not_made(shop: Shop, words: str) -> None:
    told = complaint(shop, *words.split(), "--url", "sqlite:///nope/jobs.db", code=5)
    assert "there is no folder nope, and so no store nope/jobs.db; check the address" in told
    assert not (shop.folder / "nope").exists()


@pytest.mark.parametrize("words", READERS)
def test_store_that_is_not_there_is_not_made(shop: Shop, words: str) -> None:
    result = shop.run(*words.split(), "--url", "sqlite:///fresh.db")
    names_a_job_or_follows = ID in words or "-f" in words.split()
    assert result.exit_code == (5 if names_a_job_or_follows else 0) or words.startswith("schedules pause")
    if names_a_job_or_follows:
        assert result.stderr == "Error: there is no file fresh.db: check the address\n"
    assert is_untouched(shop)


@pytest.mark.parametrize("words", [f"logs {ID}", "events -f"])
def test_without_a_store_the_application_is_asked_for(shop: Shop, words: str) -> None:
    assert "jobs.db: check the address, or name the application with --app module:app" in complaint(
        shop, *words.split(), code=5
    )
    assert is_untouched(shop)


@pytest.mark.parametrize("words", ["jobs", "doctor", "enqueue welcome 7"])
def test_address_that_no_disk_can_have_is_told(shop: Shop, words: str) -> None:
    for address in (f"sqlite:///{LONG}.db", f"sqlite:///{LONG}/jobs.db", "sqlite:///shop.py/jobs.db"):
        result = shop.run(*words.split(), "--url", address)
        assert result.exit_code == 5, result.output
        assert "check the address" in result.output or "check that its folder exists" in result.output
        assert len(result.stderr) <= MAX_COMPLAINT or LONG in result.stderr


# ── configuration ────────────────────────────────────────────────────────────────────────────────────


FILES = [
    ("posthorse.toml", "leese = 3", "did you mean 'lease'?"),
    ("posthorse.toml", "url = 7", "url is 7; it must be a text"),
    ("posthorse.toml", "max_interruptions = 1.5", "max_interruptions is 1.5; it must be a whole number"),
    ("posthorse.toml", 'lease = "5s"\nheartbeat = "4s"', "a lease must hold two heartbeats"),
    ("posthorse.toml", "lease = true", "lease is True"),
    ("posthorse.toml", "[queues.mail]\nwieght = 3", "did you mean 'weight'?"),
    ("posthorse.toml", '[queues."*"]\nweight = 3', "queue is '*'"),
    ("posthorse.toml", '[posthorse]\nurl = "sqlite:///a.db"', "there is no setting 'posthorse'"),
    ("posthorse.toml", "lease = 3\nlease = 4", "not valid TOML"),
    ("posthorse.yaml", "lease: no", "lease is 'no', which is not a duration"),
    ("posthorse.yaml", "queues: {mail: {paused: no}}", "paused is 'no'; it must be true or false"),
    ("posthorse.yaml", "lease:\t30", "found character '\\t'"),
    ("posthorse.yaml", "schema: 0777", "schema is 777; it must be a text"),
    ("posthorse.yaml", "a: &a [x]\nb: *a", "has an alias"),
    ("posthorse.yaml", "lease: 30\nlease: 40", "duplicate key"),
    ("posthorse.yaml", "url: !!python/object:os.system ls", "could not determine a constructor"),
    ("posthorse.yaml", "- a\n- b", "holds no settings"),
    ("posthorse.yaml", "lease: " + LONG, "not valid YAML"),
    ("posthorse.yaml", "x" * 1_000_001, "larger than a megabyte"),
]


def test_configuration_that_cannot_be_meant_is_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTHORSE_URL")
    for file, text, said in FILES:
        (shop.folder / file).write_text(text, encoding="utf-8")
        assert said in complaint(shop, "jobs"), text[:60]
        (shop.folder / file).unlink()
    assert is_untouched(shop)


def test_configuration_that_is_no_text_is_told(shop: Shop) -> None:
    (shop.folder / "posthorse.toml").write_bytes(b'url = "\xff"')
    assert "posthorse.toml cannot be read: it is not UTF-8 text" in complaint(shop, "jobs", "--url", shop.url)
    (shop.folder / "posthorse.toml").unlink()
    (shop.folder / "posthorse.toml").mkdir()
    assert "posthorse.toml cannot be read: Is a directory" in complaint(shop, "jobs", "--url", shop.url)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("POSTHORSE_LEASE", "", "lease is ''"),
        ("POSTHORSE_MAX_INTERRUPTIONS", "\u00b2", "it must be a whole number"),
        ("POSTHORSE_MAX_INTERRUPTIONS", "-1", "at least 1"),
        ("POSTHORSE_MAX_INTERRUPTIONS", "9" * 4_000, "1,000,000 at most"),
        ("POSTHORSE_MAX_INTERRUPTIONS", LONG, "it must be a whole number"),
        ("POSTHORSE_CONFIG", "missing.toml", "which does not exist"),
        ("POSTHORSE_CONFIG", "/dev/zero", "larger than a megabyte"),
    ],
)
def test_variable_that_cannot_be_meant_is_refused(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    assert said in complaint(shop, "jobs", "--url", shop.url)


def test_empty_name_of_a_configuration_is_none(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHORSE_CONFIG", "")
    assert shop.run("jobs").exit_code == 0


@pytest.mark.parametrize(
    ("url", "mode", "is_told"),
    [
        ("postgresql://ada:secret@127.0.0.1:1/db", 0o644, True),
        ("postgresql://127.0.0.1:1/db?password=secret", 0o604, True),
        ("postgresql://ada:secret@127.0.0.1:1/db", 0o600, False),
        ("postgresql://ada@127.0.0.1:1/db", 0o644, False),
        ("sqlite:///jobs.db", 0o644, False),
    ],
)
def test_password_that_everybody_may_read_is_told_by_the_doctor(shop: Shop, url: str, mode: int, is_told: bool) -> None:
    file = shop.folder / "posthorse.toml"
    file.write_text(f'url = "{url}"', encoding="utf-8")
    file.chmod(mode)
    told = shop.run("doctor", "--url", shop.url).output
    assert ("chmod 600 posthorse.toml" in told.replace("\n", " ")) is is_told
    assert "secret@" not in told


# ── streams ──────────────────────────────────────────────────────────────────────────────────────────

needs_a_full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")


def in_a_shell(shop: Shop, line: str) -> subprocess.CompletedProcess[str]:
    command = f'"{sys.executable}" -c "from posthorse.cli import main; main()" {line}'
    return subprocess.run(["sh", "-c", command], cwd=shop.folder, capture_output=True, text=True, check=False)


@needs_a_full_device
def test_full_disk_behind_stdout_is_told_and_what_was_stored_stays(shop: Shop) -> None:
    done = in_a_shell(shop, "enqueue welcome 7 >/dev/full")
    assert done.returncode == 70
    assert done.stderr == f"Error: stdout takes no more ({os.strerror(errno.ENOSPC)}); what was done stays done\n"
    assert len(shop.done("jobs").split("\n")) == 2


@needs_a_full_device
def test_full_disk_behind_stderr_changes_no_exit_code(shop: Shop) -> None:
    done = in_a_shell(shop, "enqueu welcome 7 2>/dev/full")
    assert (done.returncode, done.stdout) == (2, "")
