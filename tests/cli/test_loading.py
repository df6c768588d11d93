"""Loading: how an application is found and imported, and the errors if it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import posthorse as ph
from posthorse.app.loading import find_target, load_application
from tests.cli.conftest import Shop


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("POSTHORSE_APP", raising=False)
    return tmp_path


def complaint(target: str) -> str:
    with pytest.raises(ph.InvalidSettings) as caught:
        load_application(target)
    return str(caught.value)


def test_module_in_the_current_folder_is_found(folder: Path) -> None:
    (folder / "market.py").write_text("import posthorse as ph\nstall = ph.Posthorse()", encoding="utf-8")
    assert isinstance(load_application("market:stall"), ph.Posthorse)


def test_module_alone_means_its_app(folder: Path) -> None:
    (folder / "market.py").write_text("import posthorse as ph\napp = ph.Posthorse()", encoding="utf-8")
    assert load_application("market") is load_application("market:app")


def test_attribute_of_an_attribute_is_found(folder: Path) -> None:
    (folder / "market.py").write_text("import posthorse as ph\nclass Jobs:\n  app = ph.Posthorse()", encoding="utf-8")
    assert isinstance(load_application("market:Jobs.app"), ph.Posthorse)


def test_missing_module_names_its_neighbour(folder: Path) -> None:
    (folder / "market.py").write_text("", encoding="utf-8")
    assert "no module 'markt'" in complaint("markt:app")
    assert "did you mean market?" in complaint("markt:app")


def test_missing_attribute_names_the_applications_that_are_there(folder: Path) -> None:
    (folder / "market.py").write_text("import posthorse as ph\nstall = ph.Posthorse()", encoding="utf-8")
    assert "has no 'app'; it has market:stall" in complaint("market")


def test_something_else_than_an_application_is_named(folder: Path) -> None:
    (folder / "market.py").write_text("app = 7", encoding="utf-8")
    assert "of the type int" in complaint("market:app")


def test_file_is_turned_into_its_module(folder: Path) -> None:
    assert "name its module: shop.jobs:app" in complaint("shop/jobs.py")


def test_text_that_names_nothing_is_refused(folder: Path) -> None:
    assert "write module:app" in complaint("a b:c")


def test_error_of_the_users_code_is_shown_with_its_line(folder: Path) -> None:
    (folder / "market.py").write_text("import posthorse\n\napp = posthorse.Posthoarse()\n", encoding="utf-8")
    told = complaint("market:app")
    assert "AttributeError" in told
    assert "market.py, line 3: app = posthorse.Posthoarse()" in told


def test_error_inside_posthorse_is_shown_at_the_users_line(folder: Path) -> None:
    (folder / "market.py").write_text("import posthorse\napp = posthorse.Posthorse('mysql://x')\n", encoding="utf-8")
    assert "market.py, line 2" in complaint("market:app")


def test_module_that_the_users_code_misses_is_not_taken_for_the_application(folder: Path) -> None:
    (folder / "market.py").write_text("import surely_not_installed\n", encoding="utf-8")
    told = complaint("market:app")
    assert "No module named 'surely_not_installed'" in told
    assert "market.py, line 1" in told


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://shop:canary@db/shop",
        "shop:canary@db/shop",
        "host=db password=canary",
        "postgresql://shop:can/canary@db/shop",
    ],
)
def test_a_line_that_may_hold_a_password_is_not_repeated(folder: Path, address: str) -> None:
    (folder / "market.py").write_text(f"import posthorse as ph\napp = ph.Posthorse({address!r})", encoding="utf-8")
    told = complaint("market:app")
    assert "market.py, line 2" in told
    assert "canary" not in told


def test_syntax_error_is_shown_with_its_line(folder: Path) -> None:
    (folder / "market.py").write_text("x = 1\nthis is no python\n", encoding="utf-8")
    assert "market.py, line 2: this is no python" in complaint("market:app")


def test_module_that_ends_the_process_is_survived(folder: Path) -> None:
    (folder / "market.py").write_text("raise SystemExit('bye')", encoding="utf-8")
    assert "SystemExit: bye" in complaint("market:app")


def test_environment_comes_before_the_project_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "pyproject.toml").write_text('[tool.posthorse]\napp = "a:b"', encoding="utf-8")
    assert find_target() == ("a:b", "[tool.posthorse] in pyproject.toml")
    monkeypatch.setenv("POSTHORSE_APP", "c:d")
    assert find_target() == ("c:d", "POSTHORSE_APP")


def test_nothing_named_is_nothing(folder: Path) -> None:
    assert find_target() is None
    (folder / "pyproject.toml").write_text('[project]\nname = "posthorse-shop"', encoding="utf-8")
    assert find_target() is None


@pytest.mark.parametrize(
    "text", ["[tool.posthorse]\napp = 7", "[tool.posthorse]", "[tool.posthorse]\nurl = 'x'", "posthorse = ["]
)
def test_project_file_that_says_nonsense_is_refused(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ph.InvalidSettings, match=r"pyproject\.toml"):
        find_target()


def test_commands_that_need_code_say_how_to_name_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTHORSE_APP")
    result = shop.run("enqueue", "welcome", "7")
    assert result.exit_code == 2
    assert "--app module:app" in result.stderr
    assert shop.run("enqueue", "welcome", "7", "--app", "shop").exit_code == 0


def test_commands_that_need_a_store_alone_do_without_an_application(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = shop.done("enqueue", "welcome", "7")
    monkeypatch.delenv("POSTHORSE_APP")
    assert job in shop.done("jobs")
    monkeypatch.setenv("POSTHORSE_APP", "gone:app")
    monkeypatch.delenv("POSTHORSE_URL")
    assert job in shop.done("jobs", "--url", shop.url)


def test_application_that_cannot_be_imported_is_not_replaced_by_another_store(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTHORSE_APP", "gone:app")
    result = shop.run("jobs")
    assert result.exit_code == 2
    assert "POSTHORSE_APP names this application; --url URL does without it" in result.stderr


def test_url_takes_the_place_of_the_applications_store(shop: Shop) -> None:
    shop.done("enqueue", "welcome", "7", "--url", "sqlite:///other.db")
    assert (shop.folder / "other.db").exists()
    assert shop.listed("--url", shop.url) == []


def test_a_yaml_file_that_cannot_be_read_is_told_in_a_line(folder: Path) -> None:
    (folder / "market.py").write_text("import posthorse as ph\napp = ph.Posthorse()", encoding="utf-8")
    (folder / "posthorse.yaml").write_text("queues:\n  a: {weight: 1}\n  a: {weight: 2}\n", encoding="utf-8")
    assert 'posthorse.yaml is not valid YAML: found duplicate key "a"' in complaint("market:app")
    (folder / "posthorse.yaml").write_text("queues: [\n", encoding="utf-8")
    assert "(at line 2, column 1)" in complaint("market:app")
