"""`posthorse report`: its forms, its file, and what it says where there is little to say."""

from __future__ import annotations

import csv
import os
import re
import stat
from datetime import timedelta
from typing import Any, cast, get_args

import pytest
from rich.cells import cell_len

from posthorse.cli.exits import Exit
from posthorse.views.report.content import ReportBy
from tests.cli.conftest import Shop
from tests.views.sample_report import EVIL, report
from tests.waiting import until_state

BYS: tuple[ReportBy, ...] = get_args(ReportBy)


@pytest.fixture
def busy(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop whose figures are those of the sample, with names and messages that are evil."""

    def sample(app: object, *, since: object, until: object, by: ReportBy, now: object) -> object:
        return report(by=by, evil=EVIL)

    shop.done("migrate")
    monkeypatch.setattr("posthorse.cli.report.report_of", sample)
    return shop


# ── the terminal ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("by", BYS)
def test_the_report_fits_the_terminal(busy: Shop, columns: int, by: ReportBy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posthorse.cli.screen._is_terminal", lambda stream: True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    result = busy.run("report", "--by", by)
    text = re.sub(r"\x1b\[[0-9;]*m", "", result.stdout)
    assert result.exit_code == Exit.OK
    for line in text.splitlines():
        assert cell_len(line) <= columns, line
        assert line.isprintable(), ascii(line)
    assert "Different from the 7 days before" in text


def test_the_report_begins_with_sentences(busy: Shop) -> None:
    result = busy.run("report")
    span, empty, first, second, *_ = result.stdout.splitlines()
    assert (span, empty) == ("24 Nov 2026 13:37 to 1 Dec 2026 13:37 UTC", "")
    assert first == "In the last 7 days 1.2 million jobs ended, 0.25 % failed."
    assert second.startswith("That is 25 % more than")
    assert re.search(r"^ended     [·▁▂▃▄▅▆▇█]{72}  most 10,8\d\d/hour$", result.stdout, re.MULTILINE)
    assert "Figures after 13:37:02 UTC may be on their way; a crash may lose ten seconds of figures" in result.stderr


# ── programs ─────────────────────────────────────────────────────────────────────────────────────────


def test_json_is_one_object(busy: Shop) -> None:
    told = cast("dict[str, Any]", busy.json("report", "--by", "queue"))
    assert [row["key"] for row in told["rows"]] == ["images", "mail"]
    assert told["totals"]["failed"] == 2924
    assert told["since"] == "2026-11-24T13:37:12Z"
    assert busy.run("report", "--json").stderr == ""


@pytest.mark.parametrize("by", BYS)
def test_csv_has_a_heading_and_harmless_rows(busy: Shop, by: ReportBy) -> None:
    text = busy.done("report", "--by", by, "--csv")
    heading, *rows = csv.reader(text.splitlines())
    assert heading[0] == {"error": "fingerprint", "day": "began_at", "hour": "began_at"}.get(by, by)
    assert rows
    assert len(text.splitlines()) == 1 + len(rows), "a row is a line"
    for row in rows:
        assert len(row) == len(heading)
        assert all(cell.isprintable() for cell in row)
    assert "\r" not in text


@pytest.mark.parametrize("words", [("--csv", "--json"), ("--html", "x.html", "--csv"), ("--json", "--html", "x.html")])
def test_only_one_form_is_given(busy: Shop, words: tuple[str, ...]) -> None:
    result = busy.run("report", *words)
    assert (result.exit_code, result.stdout) == (Exit.USAGE, "")
    assert not (busy.folder / "x.html").exists()


# ── the page ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_is_written_as_a_whole(busy: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    file = busy.folder / "week.html"
    result = busy.run("report", "--html", "week.html")
    assert (result.exit_code, result.stdout, result.stderr) == (Exit.OK, "", "The report is in week.html.\n")
    text = file.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert text.endswith("</html>\n")
    assert "What happened in jobs.db" in text

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    file.write_text("the old one", encoding="utf-8")
    file.chmod(0o640)
    monkeypatch.setattr("posthorse.cli.report.os.fsync", full)
    failed = busy.run("report", "--html", "week.html")
    assert failed.exit_code == Exit.USAGE
    assert "'week.html' cannot be written: No space left on device" in failed.stderr
    assert file.read_text(encoding="utf-8") == "the old one"
    monkeypatch.undo()
    assert [path.name for path in busy.folder.glob("*week*")] == ["week.html"], "nothing is left beside it"


def test_the_page_keeps_the_mode_and_the_link_of_its_file(busy: Shop) -> None:
    file, link = busy.folder / "week.html", busy.folder / "latest.html"
    before = os.umask(0o027)
    try:
        busy.done("report", "--html", str(file))
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    file.chmod(0o604)
    link.symlink_to(file)
    busy.done("report", "--html", str(link))
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o604


@pytest.mark.parametrize(("name", "why"), [("none/week.html", "No such file"), (".", "Is a directory"), ("", "")])
def test_a_file_that_cannot_be_written_is_wrong_usage(busy: Shop, name: str, why: str) -> None:
    result = busy.run("report", "--html", name)
    assert (result.exit_code, result.stdout) == (Exit.USAGE, "")
    assert why in result.stderr


def test_the_page_goes_to_stdout_on_request(busy: Shop) -> None:
    assert busy.done("report", "--html", "-").startswith("<!doctype html>")
    assert not (busy.folder / "-").exists()


# ── little to say ────────────────────────────────────────────────────────────────────────────────────


def test_a_store_that_does_not_exist_is_not_made(shop: Shop) -> None:
    result = shop.run("report")
    assert (result.exit_code, result.stdout) == (Exit.OK, "")
    assert "There is no store at" in result.stderr
    told = cast("dict[str, Any]", shop.json("report"))
    assert told["sentences"] == ["In the last 7 days no job ended."]
    assert not list(shop.folder.glob("jobs.db*"))


def test_a_store_without_figures_says_so(any_shop: Shop) -> None:
    any_shop.done("migrate")
    for by in BYS:
        result = any_shop.run("report", "--since", "90d", "--by", by)
        assert (result.exit_code, result.stdout) == (Exit.OK, "")
        assert "There are no figures from" in result.stderr
    assert len(any_shop.done("report", "--csv").splitlines()) == 1
    any_shop.done("report", "--html", "week.html")
    assert "There are no figures of this time" in (any_shop.folder / "week.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--since", "yesterday"), "--since is 'yesterday'; write how long ago (7d, 12h), a date (2026-11-24)"),
        (("--since", "2026-13-01"), "--since is '2026-13-01'"),
        (("--until", ""), "--until is ''"),
        (("--since", "1h", "--until", "2h"), "--since is '1h', which is not before --until"),
        (("--since", "0s"), "--since is '0s', which is not before --until"),
        (("--since", "99999999d"), "--since is '99999999d'"),
        (("--since", "0001-01-01"), "lies before 1970"),
        (("--since", "36500d"), "lies before 1970"),
        (("--since", "8999-12-31"), "--since is '8999-12-31', which is not before --until"),
        (("--by", "colour"), "'colour' is not one of"),
    ],
)
def test_times_and_groups_that_are_none_are_refused(shop: Shop, words: tuple[str, ...], complaint: str) -> None:
    result = shop.run("report", *words)
    assert (result.exit_code, result.stdout) == (Exit.USAGE, "")
    assert complaint in result.stderr


@pytest.mark.parametrize(
    ("words", "span"),
    [
        ((), timedelta(days=7)),
        (("--since", "2d", "--until", "8999-12-31"), timedelta(days=2)),
        (("--since", "2026-11-24", "--until", "2026-11-25T08:30Z"), timedelta(days=1, hours=8.5)),
        (("--since", "2026-11-24T00:00+02:00", "--until", "2026-11-24"), timedelta(hours=2)),
        (("--since", "2d", "--until", "1d"), timedelta(days=1)),
    ],
)
def test_times_are_spans_dates_or_moments(
    shop: Shop, words: tuple[str, ...], span: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[timedelta] = []

    def sample(app: object, *, since: Any, until: Any, by: ReportBy, now: object) -> object:  # noqa: ANN401
        asked.append(until - since)
        return report(by=by)

    shop.done("migrate")
    monkeypatch.setattr("posthorse.cli.report.report_of", sample)
    shop.done("report", *words)
    assert asked == [span]


# ── with a worker ────────────────────────────────────────────────────────────────────────────────────


def test_jobs_that_ran_are_in_the_report(any_shop: Shop) -> None:
    jobs = [any_shop.done("enqueue", "welcome", str(number), "--tenant", "acme") for number in range(3)]
    jobs.append(any_shop.done("enqueue", "broken", "no <b>price</b> for 7"))
    with any_shop.working():
        for job in jobs:
            until_state(any_shop.app.get_job(job), "completed", "failed")
    any_shop.close()
    any_shop.forget()
    told = cast("dict[str, Any]", any_shop.json("report", "--since", "1h"))
    assert told["sentences"][0] == "In the last hour 4 jobs ended, 25 % failed."
    assert {name: told["totals"][name] for name in ("completed", "failed", "retried")} == {
        "completed": 3,
        "failed": 1,
        "retried": 1,
    }
    assert [(error["type"], error["count"]) for error in told["errors"]] == [("ValueError", 2)]
    assert sum(row["completed"] for row in told["over_time"]) == 3
    assert told["over_time_by"] == "minute"
    for by in BYS:
        result = any_shop.run("report", "--since", "1h", "--by", by)
        assert result.exit_code == Exit.OK
        assert "One error is new: ValueError in broken, 2 times." in result.stdout
    assert re.search(r"^welcome +3 +0 ", any_shop.done("report"), re.MULTILINE)
    assert "setting tenant_figures" in any_shop.run("report", "--by", "tenant").stderr
    any_shop.done("report", "--since", "1h", "--html", "hour.html")
    page = (any_shop.folder / "hour.html").read_text(encoding="utf-8")
    assert "Jobs that ended, by minute" in page
    assert "<b>" not in page
