"""The plugin gives projects the fixture `posthorse`, finds their application, and costs others nothing."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import posthorse.testing as pt
from tests.testing.projects import SHOP, passes, run_tests, write

ROOT = Path(__file__).parents[2]

TESTS = """
from shop import app, welcome

def test_one(posthorse):
    welcome.enqueue(7)
    posthorse.assert_enqueued(welcome, user_id=7, queue="mail")
    assert posthorse.drain().completed == 1

def test_another_begins_with_an_empty_store(posthorse):
    posthorse.assert_not_enqueued()
    assert app.jobs().count() == 0
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path, shop=SHOP, test_shop=TESTS)
    return tmp_path


def test_pytest_finds_the_plugin_where_posthorse_is_installed() -> None:
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert metadata["project"]["entry-points"]["pytest11"] == {"posthorse": "posthorse.testing.plugin"}


def test_the_application_is_named_by_the_settings_of_the_project(project: Path) -> None:
    (project / "pyproject.toml").write_text('[tool.posthorse]\napp = "shop:app"\n')
    passes(project)


def test_the_application_is_named_by_the_settings_of_pytest(project: Path) -> None:
    (project / "pytest.ini").write_text("[pytest]\nposthorse_app = shop:app\n")
    (project / "below").mkdir()
    passes(project / "below", "--rootdir", str(project), "-c", str(project / "pytest.ini"), str(project))


def test_the_application_is_what_a_fixture_returns(project: Path) -> None:
    write(
        project,
        conftest="""
        import pytest, shop

        @pytest.fixture
        def posthorse_app():
            return shop.app
        """,
    )
    passes(project)


def test_a_project_that_names_no_application_is_told_how(project: Path) -> None:
    ran = run_tests(project)
    assert ran.returncode == 1
    assert "define a fixture `posthorse_app`" in ran.stdout


def test_a_failed_assertion_points_to_the_line_of_the_test(project: Path) -> None:
    (project / "pytest.ini").write_text("[pytest]\nposthorse_app = shop:app\n")
    write(
        project,
        test_shop="""
        from shop import welcome

        def test_one(posthorse):
            welcome.enqueue(8)
            posthorse.assert_enqueued(welcome, user_id=7)
        """,
    )
    printed = run_tests(project).stdout
    assert ">       posthorse.assert_enqueued(welcome, user_id=7)" in printed
    assert "welcome(user_id=8) in queue mail, pending: user_id=8 (not 7)" in printed
    assert "kits.py" not in printed


def test_the_last_drain_of_a_failed_test_is_shown_whole(project: Path) -> None:
    (project / "pytest.ini").write_text("[pytest]\nposthorse_app = shop:app\n")
    write(
        project,
        test_shop="""
        from shop import welcome

        def test_one(posthorse):
            for number in range(9):
                welcome.enqueue(number)
            welcome.using(delay="3d").enqueue(1)
            assert posthorse.drain().completed == 10
        """,
    )
    printed = run_tests(project).stdout
    assert "where 9 = <Drained: 9 completed, 1 left>.completed" in printed
    _, _, shown = printed.partition(" the last drain ")
    lines = shown.splitlines()[1:]
    assert lines[:2] == ["9 completed, 1 left", "ran:"]
    assert [line.endswith("(attempt 1): returned, now completed") for line in lines[2:11]] == [True] * 9
    assert lines[11] == "left:"
    assert "is scheduled" in lines[12]


def test_the_plugin_imports_nothing_before_a_test_asks_for_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        test_other="""
        import sys

        def test_what_is_imported():
            ours = sorted(name for name in sys.modules if name.startswith("posthorse"))
            assert ours == ["posthorse", "posthorse.testing", "posthorse.testing.plugin", "posthorse.version"]
            assert "msgspec" not in sys.modules
        """,
    )
    passes(tmp_path)


def test_tests_run_beside_each_other_in_processes(project: Path) -> None:
    (project / "pytest.ini").write_text("[pytest]\nposthorse_app = shop:app\n")
    many = (
        TESTS + "\nimport pytest\n\n@pytest.mark.parametrize('number', range(20))\ndef test_many(posthorse, number):\n"
    )
    write(project, test_shop=many + "    welcome.enqueue(number)\n    assert posthorse.drain().completed == 1\n")
    assert "22 passed" in passes(project, "-n", "2", plugins=("xdist.plugin",))


def test_public_names_are_those_that_type_checkers_see() -> None:
    source = (ROOT / "src/posthorse/testing/__init__.py").read_text(encoding="utf-8")
    for name in pt.__all__:
        assert getattr(pt, name).__name__ == name
        assert any(line.strip().startswith("from") and name in line for line in source.splitlines()), name
    assert set(pt.__all__) <= set(dir(pt))
