"""A store that no setting names, and two stores that may be mistaken for one, are reported."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

import posthorse as ph
from posthorse.app.store_origin import Origin, apart, lead_to
from posthorse.store.address import is_same_store

SERVER = "postgresql://shop:sesame@db/shop"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("POSTHORSE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def warnings_of_making(app: ph.Posthorse, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="posthorse"):
        app.jobs().count()
    app.close()
    return [record.getMessage() for record in caplog.records]


def test_whoever_makes_a_store_that_nothing_names_is_told_once(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    [told] = warnings_of_making(ph.Posthorse(), caplog)
    assert told.startswith(
        f"nothing names a store, so a new, empty one was made: {tmp_path}/posthorse.db. Set POSTHORSE_URL"
    )
    assert warnings_of_making(ph.Posthorse(), caplog) == [], "it is there already"


def test_a_store_that_is_named_is_made_without_a_word(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def made_in(folder: str) -> list[str]:
        monkeypatch.chdir(tmp_path / folder)
        app = ph.Posthorse("sqlite:///posthorse.db") if folder == "code" else ph.Posthorse()
        if folder == "later":
            app.use_url("sqlite:///posthorse.db")
        return warnings_of_making(app, caplog)

    for folder in ("code", "later", "file", "variable", "nothing"):
        (tmp_path / folder).mkdir()
    (tmp_path / "file" / "posthorse.toml").write_text('url = "sqlite:///posthorse.db"')
    assert len(made_in("nothing")) == 1
    assert made_in("code") == made_in("later") == made_in("file") == []
    monkeypatch.setenv("POSTHORSE_URL", "sqlite:///posthorse.db")
    assert made_in("variable") == []


def test_the_command_line_tells_it_on_stderr(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "posthorse", "migrate"]
    made, again = (subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(2))
    assert f"nothing names a store, so a new, empty one was made: {tmp_path}/posthorse.db" in made.stderr
    assert "nothing names" not in again.stderr


def test_another_store_than_the_applications_own_is_told_with_both_names() -> None:
    app = ph.Posthorse()
    lead_to(app, SERVER)
    stores = apart(app)
    assert stores is not None
    assert stores.finding.startswith(
        "--url leads to postgresql://shop@db/shop, but the application's own store is posthorse.db, the default, "
    )
    assert stores.advice == "set POSTHORSE_URL for all processes of the application, in place of --url"
    named = ph.Posthorse("sqlite:///shop.db")
    lead_to(named, SERVER)
    stores = apart(named)
    assert stores is not None
    assert "own store is shop.db: jobs" in stores.finding
    assert stores.advice.startswith("change the address in the code")


def test_a_variable_that_the_code_overrules_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHORSE_URL", SERVER)
    stores = apart(ph.Posthorse("sqlite:///shop.db"))
    assert stores is not None
    assert stores.finding.startswith(
        "POSTHORSE_URL names postgresql://shop@db/shop, but the application's code names shop.db, which counts"
    )


def test_one_store_is_no_matter_whoever_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = ph.Posthorse("sqlite:///shop.db")
    lead_to(app, f"sqlite:///{tmp_path}/shop.db")
    assert apart(app) is None
    monkeypatch.setenv("POSTHORSE_URL", SERVER)
    assert apart(ph.Posthorse()) is None
    assert apart(ph.Posthorse(SERVER)) is None
    app.use_url("sqlite:///other.db")  # by the application's own code, which all its processes run
    assert app.origin == Origin("sqlite:///other.db", is_named=True, is_in_code=True)
    assert apart(app) is None


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("postgres://shop@db:5432/shop?sslmode=require", True),
        ("postgresql://worker:other@db/shop", True),
        ("postgresql://shop@db/shop?options=-csearch_path%3Dx", True),
        ("postgresql://shop@db:6432/shop", False),
        ("postgresql://shop@db/other", False),
        ("postgresql://shop@db/shop?host=elsewhere", False),
        ("sqlite:///shop", False),
    ],
)
def test_who_enters_a_store_and_how_does_not_tell_it_apart(other: str, same: bool) -> None:
    assert is_same_store(SERVER, other) is same


def test_addresses_are_not_shown_with_their_passwords() -> None:
    assert "sesame" not in repr(ph.Posthorse(SERVER).origin)
