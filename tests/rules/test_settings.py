"""Settings: explicit ones win, misspelt keys suggest the nearest, and what cannot work is refused at once."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

import posthorse as ph
from posthorse.app.configure import load
from posthorse.errors import InvalidSettings
from posthorse.rules.settings import Settings, make_settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("POSTHORSE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_without_anything_the_defaults_hold() -> None:
    settings = load({}).settings
    assert settings == Settings()
    assert (settings.url, settings.lease, settings.heartbeat) == ("sqlite:///posthorse.db", 30.0, 10.0)


def test_arguments_win_over_the_environment_and_that_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "posthorse.toml").write_text('url = "sqlite:///file.db"\npoll = "3s"\nlease = 60\n')
    monkeypatch.setenv("POSTHORSE_URL", "sqlite:///environment.db")
    monkeypatch.setenv("POSTHORSE_POLL", "2s")
    settings = load({"url": "sqlite:///given.db"}).settings
    assert (settings.url, settings.poll, settings.lease) == ("sqlite:///given.db", 2.0, 60.0)
    assert ph.Posthorse().settings.url == "sqlite:///environment.db"
    assert ph.Posthorse("sqlite:///given.db").settings.url == "sqlite:///given.db"


def test_numbers_in_the_environment_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHORSE_MAX_INTERRUPTIONS", "3")
    monkeypatch.setenv("POSTHORSE_GRACE", "2.5")
    settings = load({}).settings
    assert (settings.max_interruptions, settings.grace) == (3, 2.5)


def test_a_named_file_must_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POSTHORSE_CONFIG", str(tmp_path / "other.toml"))
    with pytest.raises(InvalidSettings, match="does not exist"):
        load({})
    (tmp_path / "other.toml").write_text('grace = "1m"')
    assert load({}).settings.grace == 60.0


@pytest.mark.parametrize("text", ["url = ", "= 3", "lease = 2\nlease = 3", "\0"])
def test_a_file_that_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "posthorse.toml").write_text(text)
    with pytest.raises(InvalidSettings, match=r"posthorse\.toml is not valid TOML"):
        load({})


def test_what_only_the_command_line_reads_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTHORSE_APP", "shop:app")
    monkeypatch.setenv("POSTHORSE_FAILPOINT", "")
    assert load({}).settings == Settings()


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"leese": 30}, r"there is no setting 'leese'; did you mean 'lease'\?"),
        ({"zzz": 1}, "known are url, schema"),
        ({"url": 7}, "url"),
        ({"schema": 5}, "schema"),
        ({"lease": "soon"}, "lease is 'soon'"),
        ({"lease": True}, "lease is True"),
        ({"lease": 2.9}, "at least 3 s"),
        ({"lease": -1}, "lease is -1"),
        ({"lease": 30, "heartbeat": 16}, "must hold two heartbeats"),
        ({"heartbeat": 0}, "longer than zero"),
        ({"stall": 0}, "longer than zero"),
        ({"poll": 0}, "longer than zero"),
        ({"poll": float("inf")}, "poll is inf"),
        ({"max_interruptions": 0}, "at least 1"),
        ({"max_interruptions": "3"}, "max_interruptions"),
        ({"max_interruptions": 1.5}, "max_interruptions"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(given: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidSettings, match=complaint):
        make_settings(given)
    with pytest.raises(InvalidSettings, match=complaint):
        ph.Posthorse(**given)  # type: ignore[arg-type]  # that is the point


def test_misspelt_keys_are_found_wherever_they_stand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POSTHORSE_LEESE", "3s")
    with pytest.raises(InvalidSettings, match="did you mean 'lease'"):
        load({})
    monkeypatch.delenv("POSTHORSE_LEESE")
    (tmp_path / "posthorse.toml").write_text("heart_beat = 3")
    with pytest.raises(InvalidSettings, match="did you mean 'heartbeat'"):
        load({})


@pytest.mark.parametrize(("lease", "heartbeat"), [(3, 1.0), ("12s", 4.0), (timedelta(minutes=2), 10.0)])
def test_a_lease_without_a_heartbeat_gets_one_that_fits(lease: object, heartbeat: float) -> None:
    assert make_settings({"lease": lease}).heartbeat == heartbeat


@pytest.mark.parametrize(
    "url", ["", "jobs.db", "sqlite://", "sqlite:///", "mysql://host/db", "sqlite:///:memory:", "sqlite://host/file.db"]
)
def test_an_address_of_no_store_is_refused_at_construction(url: str) -> None:
    with pytest.raises(InvalidSettings):
        ph.Posthorse(url)


def test_a_password_is_not_shown() -> None:
    with pytest.raises(InvalidSettings) as refused:
        ph.Posthorse("mysql://ada:s3cret@host/db")
    assert "s3cret" not in str(refused.value)
    assert "mysql://" in str(refused.value)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Settings().lease = 3  # type: ignore[misc]  # that is the point
