"""Typed arguments become what the job's function declares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest

from tests.cli.conftest import Shop


def arguments_of(shop: Shop, *words: str, input: str | None = None) -> object:
    job = shop.done("enqueue", *words, input=input)
    return cast("dict[str, object]", shop.json("show", job))["arguments"]


def refusal(shop: Shop, *words: str, input: str | None = None) -> str:
    """Return the error when nothing is enqueued because of wrong usage."""
    result = shop.run("enqueue", *words, input=input)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert shop.listed() == []
    return result.stderr


def test_prints_the_id_and_nothing_else(shop: Shop) -> None:
    result = shop.run("enqueue", "welcome", "7")
    assert shop.app.get_job(result.stdout.strip()).status().kind == "welcome"
    assert result.stderr == ""


def test_json_says_whether_the_job_is_new(shop: Shop) -> None:
    first = json.loads(shop.done("enqueue", "welcome", "7", "--key", "k", "--json"))
    second = json.loads(shop.done("enqueue", "welcome", "7", "--key", "k", "--json"))
    assert first == {"id": second["id"], "created": True}
    assert second["created"] is False


def test_metadata_is_given_by_entries_and_shown(shop: Shop) -> None:
    given = ("--meta", "user=7", "--meta", "request=r-1", "--meta", 'parts={"a": [1]}')
    job = shop.done("enqueue", "welcome", "7", *given).strip()
    assert shop.app.get_job(job).status().metadata == {"user": 7, "request": "r-1", "parts": {"a": [1]}}
    shown = shop.done("show", job)
    assert "metadata" in shown
    assert "user = 7" in shown
    assert json.loads(shop.done("show", job, "--json"))["metadata"]["request"] == "r-1"
    assert job in shop.done("jobs", "--filter", "meta.user:7", "--json")
    for wrong in ("user", "=7"):
        assert "write a name and a value" in shop.run("enqueue", "welcome", "7", "--meta", wrong).stderr


def test_number_is_a_number_where_one_is_wanted_and_text_where_text_is(shop: Shop) -> None:
    assert arguments_of(shop, "welcome", "7", "7") == {"user_id": 7, "name": "7"}


@pytest.mark.parametrize("text", ["null", "true", "[1]", "", "a b", "ünïcödé"])
def test_text_is_kept_as_it_is_typed(shop: Shop, text: str) -> None:
    assert arguments_of(shop, "welcome", "7", f"name={text}") == {"user_id": 7, "name": text}


def test_text_of_json_is_a_way_to_write_any_text(shop: Shop) -> None:
    assert arguments_of(shop, "welcome", "7", '"@home"') == {"user_id": 7, "name": "@home"}


def test_value_without_a_type_is_json_where_it_can_be(shop: Shop) -> None:
    given = arguments_of(shop, "anything", "[1, 2]", "hello", "x=null", "y=a=b")
    assert given == {"value": [1, 2], "more": ["hello"], "named": {"x": None, "y": "a=b"}}


def test_rich_types_are_made_of_text_and_json(shop: Shop) -> None:
    words = ("2026-01-01T00:00:00Z", "[1,2]", "small", '{"item": "tea", "count": 2}', "5", "six")
    assert arguments_of(shop, "typed", *words) == {
        "when": "2026-01-01T00:00:00Z",
        "numbers": [1, 2],
        "size": "small",
        "order": {"item": "tea", "count": 2},
        "words": ["5", "six"],
    }


def test_wrong_type_names_the_argument(shop: Shop) -> None:
    assert "argument user_id must be int" in refusal(shop, "welcome", "seven")


def test_unknown_argument_names_its_neighbour(shop: Shop) -> None:
    assert "did you mean 'user_id'?" in refusal(shop, "welcome", "usr_id=7")


def test_unknown_kind_names_its_neighbour(shop: Shop) -> None:
    assert "did you mean 'welcome'?" in refusal(shop, "welcom", "7")


def test_argument_that_begins_with_a_minus_follows_two_of_them(shop: Shop) -> None:
    assert arguments_of(shop, "welcome", "--", "-5") == {"user_id": -5}


def test_argument_twice_is_refused(shop: Shop) -> None:
    assert "twice" in refusal(shop, "welcome", "user_id=7", "user_id=8")


@pytest.mark.parametrize("number", ["9" * 5000, str(2**64), "1e400", "NaN"])
def test_number_beyond_all_limits_is_refused(shop: Shop, number: str) -> None:
    assert "Error:" in refusal(shop, "welcome", number)


def test_nesting_beyond_all_limits_is_refused(shop: Shop) -> None:
    (shop.folder / "deep.json").write_text("[" * 200_000 + "]" * 200_000, encoding="utf-8")
    assert "deep.json" in refusal(shop, "anything", "@deep.json")


def test_file_is_read_as_json(shop: Shop) -> None:
    (shop.folder / "numbers.json").write_text("[1, 2, 3]", encoding="utf-8")
    assert arguments_of(shop, "anything", "@numbers.json", "x=@numbers.json") == {
        "value": [1, 2, 3],
        "named": {"x": [1, 2, 3]},
    }


def test_stdin_is_read_as_json(shop: Shop) -> None:
    assert arguments_of(shop, "welcome", "-", input="7") == {"user_id": 7}


def test_missing_file_is_refused(shop: Shop) -> None:
    assert "cannot read missing.json: No such file" in refusal(shop, "anything", "@missing.json")


def test_file_without_json_is_refused(shop: Shop) -> None:
    (shop.folder / "notes.txt").write_text("notes", encoding="utf-8")
    assert "notes.txt holds no JSON" in refusal(shop, "anything", "@notes.txt")


def test_endless_file_is_not_read_to_its_end(shop: Shop) -> None:
    assert "/dev/zero holds more than" in refusal(shop, "anything", "@/dev/zero")


def test_options_reach_the_job(shop: Shop) -> None:
    job = shop.done(
        "enqueue", "welcome", "7", "-q", "slow", "--priority", "-5", "--delay", "10m", "--tag", "a", "--tag", "b",
        "--tenant", "acme", "--max-attempts", "2",
    )  # fmt: skip
    status = shop.app.get_job(job).status()
    assert (status.queue, status.priority, status.state, status.tenant) == ("slow", -5, "scheduled", "acme")
    assert (list(status.tags), status.max_attempts) == (["a", "b"], 2)


def test_moment_to_run_at_is_read_with_its_zone(shop: Shop) -> None:
    job = shop.done("enqueue", "welcome", "7", "--run-at", "2030-01-01T08:00:00+01:00")
    run_at = shop.app.get_job(job).status().run_at
    assert run_at is not None
    assert run_at.isoformat() == "2030-01-01T07:00:00+00:00"


@pytest.mark.parametrize(
    "words",
    [
        ["--run-at", "2026-01-01T08:00:00"],
        ["--run-at", "2026-W01-1"],
        ["--run-at", "2026-01-01T08:00:60Z"],
        ["--run-at", "2026-01-01T08:00:00+25:00"],
        ["--run-at", "tomorrow"],
        ["--run-at", "2030-01-01T08:00:00Z", "--delay", "1s"],
        ["--delay", "-1"],
        ["--delay", "1e12"],
        ["--priority", "101"],
        ["--priority", "1.5"],
        ["--max-attempts", "0"],
        ["--queue", ""],
        ["--queue", "*"],
        ["--queue", "q" * 300],
        ["--key", ""],
        ["--key", "k" * 10_000],
        ["--tag", " "],
    ],
)
def test_option_that_cannot_be_used_is_refused(shop: Shop, words: list[str]) -> None:
    refusal(shop, "welcome", "7", *words)


def test_key_used_for_other_arguments_is_a_conflict(shop: Shop) -> None:
    shop.done("enqueue", "welcome", "7", "--key", "k")
    result = shop.run("enqueue", "welcome", "8", "--key", "k")
    assert (result.exit_code, result.stdout) == (4, "")


# ── many at once ─────────────────────────────────────────────────────────────────────────────────────


def lines(folder: Path, *written: str) -> str:
    (folder / "jobs.jsonl").write_text("\n".join(written), encoding="utf-8")
    return "jobs.jsonl"


def test_lines_are_calls_by_name_or_by_position(shop: Shop) -> None:
    file = lines(shop.folder, '{"user_id": 1}', "", '[2, "two"]')
    ids = shop.done("enqueue", "welcome", "--from-file", file).split("\n")
    found = [cast("dict[str, object]", shop.json("show", job))["arguments"] for job in ids]
    assert found == [{"user_id": 1}, {"user_id": 2, "name": "two"}]


def test_lines_may_come_from_stdin(shop: Shop) -> None:
    assert len(shop.done("enqueue", "welcome", "--from-file", "-", input="[1]\n[2]\n").split("\n")) == 2


def test_ten_thousand_lines_are_taken_and_one_more_is_not(shop: Shop) -> None:
    rows = [f"[{number}]" for number in range(10_001)]
    assert "more than the 10,000 lines" in refusal(shop, "welcome", "--from-file", lines(shop.folder, *rows))
    ids = shop.done("enqueue", "welcome", "--from-file", lines(shop.folder, *rows[:-1])).split("\n")
    assert len(set(ids)) == 10_000


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ([], "holds no jobs"),
        (["[1]", "7"], "line 2"),
        (["[1]", "{"], "line 2: not JSON"),
        (["[1]", '["one"]'], "job 2: welcome(): argument user_id must be int"),
        (["[1]", '{"usr_id": 1}'], "job 2"),
    ],
)
def test_one_bad_line_refuses_all(shop: Shop, written: list[str], said: str) -> None:
    assert said in refusal(shop, "welcome", "--from-file", lines(shop.folder, *written))


def test_file_stands_in_place_of_arguments_and_has_no_key(shop: Shop) -> None:
    file = lines(shop.folder, "[1]")
    assert "not both" in refusal(shop, "welcome", "7", "--from-file", file)
    assert "one job" in refusal(shop, "welcome", "--from-file", file, "--key", "k")
