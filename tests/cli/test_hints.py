"""Commands that messages name can be typed as they stand: they name the application and the store that were given."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthorse.cli.exits import Exit
from tests.cli.conftest import Shop, make_shop


@pytest.fixture(autouse=True)
def nothing_names_the_application(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTHORSE_APP")


def hint_in(text: str, command: str) -> list[str]:
    """Return the words of a command that a message names, whatever lines it was wrapped into."""
    joined = re.sub(r"\s+", " ", text)
    found = re.search(rf"posthorse ({command}[^`…\n]*?)(?=`|$| ✓| !| ✗)", joined)
    assert found is not None, f"{command!r} is not in {text!r}"
    return shlex.split(found[1])


@pytest.fixture
def bare(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Yield an application whose store has no tables yet."""
    monkeypatch.setenv("POSTHORSE_SCHEMA", "bare")
    shop = make_shop(tmp_path, postgres_url, monkeypatch)
    monkeypatch.delenv("POSTHORSE_APP")
    yield shop
    shop.close()


def test_a_store_error_names_the_application_that_was_given(bare: Shop) -> None:
    for words in (("jobs",), ("queues", "reset", "mail"), ("doctor",)):
        result = bare.run(*words, "--app", "shop:app")
        assert result.exit_code == Exit.UNREACHABLE
        assert hint_in(result.output.strip(), "migrate") == ["migrate", "--app", "shop:app"]
    bare.done("migrate", "--app", "shop:app")
    bare.done("jobs", "--app", "shop:app")


def test_options_before_a_subcommand_count_too(bare: Shop) -> None:
    result = bare.run("queues", "--app", "shop:app", "reset", "mail")
    assert hint_in(result.stderr.strip(), "migrate") == ["migrate", "--app", "shop:app"]


def test_the_store_that_was_given_is_repeated_without_a_password(bare: Shop) -> None:
    result = bare.run("jobs", "--url", bare.url)
    assert hint_in(result.stderr.strip(), "migrate") == ["migrate", "--url", bare.url]
    secret = bare.url.replace("://postgres@", "://postgres:canary@")
    result = bare.run("jobs", "--url", secret)
    assert hint_in(result.stderr.strip(), "migrate") == ["migrate", "--url", "URL"]


def test_an_error_about_a_queue_names_the_application_that_was_given(shop: Shop) -> None:
    shop.done("migrate", "--app", "shop:app")
    shop.done("queues", "drain", "mail", "--app", "shop:app")
    result = shop.run("enqueue", "welcome", "7", "--app", "shop:app")
    assert result.exit_code == Exit.CONFLICT
    hint = hint_in(result.stderr.strip(), "queues resume")
    assert hint == ["queues", "resume", "mail", "--app", "shop:app"]
    shop.done(*hint)
    shop.done("enqueue", "welcome", "7", "--app", "shop:app")


def test_doctor_names_the_application_that_was_given(shop: Shop) -> None:
    shop.done("migrate", "--app", "shop:app")
    told = shop.run("doctor", "--app", "shop:app").stdout
    assert "start one: posthorse worker --app shop:app" in re.sub(r"\s+", " ", told)
    assert "start one: posthorse worker --app module:app" in re.sub(r"\s+", " ", shop.run("doctor").stdout)


def test_an_application_that_is_found_by_itself_is_not_named(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.done("migrate", "--app", "shop:app")
    monkeypatch.setenv("POSTHORSE_APP", "shop:app")
    told = re.sub(r"\s+", " ", shop.run("doctor").stdout)
    assert "start one: posthorse worker " in told
    assert "--app" not in told
    assert shop.run("workers").stderr.endswith("Start one: posthorse worker\n")


def test_what_was_given_to_one_command_is_not_repeated_by_the_next(shop: Shop) -> None:
    shop.done("migrate", "--app", "shop:app")
    shop.run("workers", "--app", "shop:app")
    assert shop.run("workers").stderr.endswith("Start one: posthorse worker --app module:app\n")


def test_debug_shows_where_an_error_comes_from(bare: Shop) -> None:
    result = bare.run("--debug", "jobs", "--app", "shop:app")
    assert type(result.exception).__name__ == "SchemaMismatch"
