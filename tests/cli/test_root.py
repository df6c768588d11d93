"""The root of the command line: what it offers, how it teaches, and how commands end."""

from __future__ import annotations

import re

import pytest

from posthorse.cli.exits import Exit
from posthorse.cli.root import COMMANDS
from posthorse.version import VERSION
from tests.cli.conftest import Shop

NAMES = [name for section in COMMANDS.values() for name in section]


def test_help_lists_every_command(shop: Shop) -> None:
    assert re.findall(r"^  ([a-z][\w-]*)  +[A-Z]", shop.done("--help"), re.MULTILINE) == NAMES


def test_no_words_mean_help(shop: Shop) -> None:
    assert shop.done() == shop.done("--help")


@pytest.mark.parametrize("name", NAMES)
def test_summary_of_a_command_opens_its_own_help(shop: Shop, name: str) -> None:
    summary = next(section[name][1] for section in COMMANDS.values() if name in section)
    assert shop.done(name, "--help").split("\n\n")[1].strip() == summary


def test_version(shop: Shop) -> None:
    assert shop.done("--version") == f"posthorse {VERSION}"


def test_unknown_command_names_its_neighbour(shop: Shop) -> None:
    result = shop.run("jbos")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "did you mean 'jobs'?" in result.stderr


def test_unknown_option_names_its_neighbour(shop: Shop) -> None:
    result = shop.run("jobs", "--statee", "failed")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--state" in result.stderr.replace("--statee", "")


def test_number_that_looks_like_an_option_is_explained(shop: Shop) -> None:
    result = shop.run("enqueue", "welcome", "-5")
    assert result.exit_code == 2
    assert "Write -- before" in result.stderr


def test_unreachable_store_ends_with_five_and_shows_no_password(shop: Shop) -> None:
    result = shop.run("jobs", "--url", "postgresql://someone:canary@127.0.0.1:1/none")
    assert result.exit_code == 5
    assert "canary" not in result.output
    assert "Traceback" not in result.output


def test_address_that_is_none_ends_with_two(shop: Shop) -> None:
    assert shop.run("jobs", "--url", "mysql://localhost/x").exit_code == 2


def test_file_that_is_no_store_ends_with_five(shop: Shop) -> None:
    (shop.folder / "notes.db").write_text("these are notes, and no database at all " * 50, encoding="utf-8")
    result = shop.run("jobs", "--url", "sqlite:///notes.db")
    assert result.exit_code == 5
    assert "not an SQLite database" in result.stderr


def test_misspelt_setting_ends_with_two(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHORSE_LEASSE", "3")
    result = shop.run("jobs", "--url", shop.url)
    assert result.exit_code == 2
    assert "did you mean 'lease'?" in result.stderr


def test_defect_is_told_without_a_traceback(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posthorse.cli.jobs.look_at_those_left", lambda *_, **__: 1 / 0)
    shop.done("migrate")
    result = shop.run("jobs")
    assert result.exit_code == Exit.DEFECT
    assert "ZeroDivisionError" in result.stderr
    assert "Traceback" not in result.stderr


def test_debug_shows_where_a_defect_is(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posthorse.cli.jobs.look_at_those_left", lambda *_, **__: 1 / 0)
    shop.done("migrate")
    assert isinstance(shop.run("--debug", "jobs").exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--json", "jobs"], "Write it behind the name of the command."),
        (["--url", "sqlite:///x.db", "jobs"], "Write it behind the name of the command."),
        (["enqueue", "welcome", "-rf"], "Write -- before arguments"),
        (["run", "welcome", "-5"], "Write -- before arguments"),
        (["enqueue", "welcome", "--quue", "x"], "--queue"),
        (["jobs", "-n", "many"], "'many' is not a whole number"),
        (["jobs", "--app", "shop.py"], "name its module: shop:app"),
        (["enqueue", "anything", "-", "-"], "was read by an earlier -"),
        (["queues", "pasue", "mail"], "'pause'"),
    ],
)
def test_what_was_meant_is_told(shop: Shop, words: list[str], hint: str) -> None:
    result = shop.run(*words, input="[1]")
    assert (result.exit_code, result.stdout) == (2, "")
    assert hint in result.stderr
