"""The check of words finds them only in prose, and allowances of files can only fall."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from checks import allowances
from checks.words import FINE, RULES, check, finds_in

BAD = "# Whoever comes first.\n"


def lines_of(name: str, text: str) -> list[tuple[int, str]]:
    return [(find.line, find.words) for find in finds_in(name, text)]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('"""Tells whoever asks.\n\nAnd what\nshall be."""\n', [(1, "whoever"), (4, "shall")]),
        ("x = 1  # it is\n       # no duration\n", [(1, "is no")]),
        ('raise ValueError(f"{nobody} is no user")\n', [(1, "is no")]),
        ("say('a', \"it's said of\", 'told of it')\n", [(1, "said of"), (1, "told of")]),
        ('text = r"\\" # no comment, but goes by"\n', [(1, "goes by")]),
    ],
)
def test_words_in_comments_docstrings_and_messages_of_python_are_found(text: str, found: list[tuple[int, str]]) -> None:
    assert lines_of("a.py", text) == found


@pytest.mark.parametrize(
    "text",
    [
        "nobody = tether(whoever)\n",
        'queues = ["nobody"]\n',
        "# `whoever` is a name here\n",
        'f"to {nobody.name} alone"\n',
        '"""A "quoted" word."""\nnobody = 1  # \'\nwhoever = 2\n',
    ],
)
def test_code_of_python_is_not_prose(text: str) -> None:
    assert lines_of("a.py", text) == []


def test_comments_of_sql_are_read_and_statements_are_not() -> None:
    assert lines_of("a.sql", "SELECT 'nobody -- shall' AS nobody\n-- what stands\n-- in a row\n") == [(2, "stands in")]


def test_text_of_markdown_is_read_and_code_only_where_it_is_prose_of_python() -> None:
    page = (
        "# What nobody knows\n\n[a page](0005-whoever.md) and `whoever`\n\n"
        "```python\nnobody()  # nobody\n```\n\n```dockerfile\nUSER nobody\n```\n\nIt answers\nwith 5.\n"
    )
    assert lines_of("a.md", page) == [(1, "nobody"), (6, "nobody"), (13, "answers with")]


def test_good_english_that_looks_alike_is_left_alone() -> None:
    for phrase in (
        "There is no retention.",
        "It is no longer so.",
        "A proxy stands in for it.",
        "The bells are not tolled.",
    ):
        assert lines_of("a.md", phrase) == []
    assert len(FINE) == 3


def test_each_find_says_what_to_write_instead() -> None:
    [find] = finds_in("docs/a.md", "\nIt goes by the key.")
    assert str(find) == 'docs/a.md:2: "goes by": write "is keyed by" or "depends on"'
    assert all(rule.instead for rule in RULES)


def test_a_file_without_allowance_is_refused_with_each_word(repository: Path) -> None:
    (repository / "a.py").write_text(BAD * 2)
    complaints = check(repository, repository / "allowed.txt")
    assert [line.partition(" ")[0] for line in complaints] == ["a.py:1:", "a.py:2:"]


def test_an_allowance_covers_so_many_and_must_fall_with_them(repository: Path) -> None:
    allowed = repository / "allowed.txt"
    (repository / "a.py").write_text(BAD * 2)
    allowances.write({"a.py": 2}, allowed)
    assert check(repository, allowed) == []
    (repository / "a.py").write_text(BAD)
    assert check(repository, allowed) == ["a.py: 1 such words, but 2 are allowed: run python -m checks.words --update"]
    assert check(repository, allowed, update=True) == []
    assert allowances.read(allowed) == {"a.py": 1}
    (repository / "a.py").write_text(BAD * 2)
    assert check(repository, allowed, update=True)[-1] == "a.py: 2 such words, where 1 are allowed"
    assert allowances.read(allowed) == {"a.py": 1}


def test_the_list_is_deleted_with_its_last_allowance(repository: Path) -> None:
    allowed = repository / "allowed.txt"
    allowances.write({"a.py": 1, "gone.py": 1}, allowed)
    (repository / "a.py").write_text("# Fine.\n")
    assert check(repository, allowed, update=True) == []
    assert not allowed.exists()


def test_a_renamed_file_takes_its_allowance_along_and_not_more(repository: Path) -> None:
    allowed = repository / "allowed.txt"
    allowances.write({"old.py": 2}, allowed)
    (repository / "new.py").write_text(BAD * 2)
    (repository / "newer.py").write_text(BAD)
    assert check(repository, allowed, update=True) == [
        'newer.py:1: "Whoever": write name the actor: the caller, the runner, another process'
    ]
    assert allowances.read(allowed) == {"new.py": 2}


def test_after_a_merge_the_lower_number_of_both_sides_counts(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed.txt"
    allowed.write_text("# header 7\n<<<<<<< HEAD\na.py 3\nb.py 9\n=======\na.py 7\nb.py 5\n>>>>>>> a commit 4\n")
    assert allowances.read(allowed) == {"a.py": 3, "b.py": 5}
