"""The documentation names everything there is, and its links lead somewhere.

Whether its programs run is tested in tests/examples/test_documentation.py; commands, options and exit codes of the
command line in tests/cli/test_completeness.py.
"""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import msgspec
import pytest

import posthorse as ph
from posthorse.rules.event_names import MEANINGS
from posthorse.rules.options.option import OptionPlace
from posthorse.rules.options.table import options_at
from posthorse.rules.search.text import parse_filter
from posthorse.rules.search.words import WORDS
from posthorse.rules.unique import Unique
from tests import option_tables

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
SOURCES = (ph.csv, ph.lines, ph.files, ph.rows, ph.keyset)
VERBS = (
    ph.Posthorse,
    ph.Kind,
    ph.Call,
    ph.Flow,
    ph.FlowStep,
    ph.Job,
    ph.Jobs,
    ph.Context,
    ph.Batch,
    ph.Queue,
    ph.Schedule,
    ph.Stock,
    ph.KeyedStock,
)
RECORDS = (
    ph.Searched,
    ph.Count,
    ph.Status,
    ph.Why,
    ph.Reason,
    ph.Estimate,
    ph.Progress,
    ph.JobError,
    ph.Attempt,
    ph.BadItem,
    ph.Graph,
    ph.GraphNode,
    ph.GraphEdge,
    ph.PreviousStep,
    ph.ScheduleStatus,
    ph.StockStatus,
    ph.events.DeadLettersGrew,
    ph.events.QueueLate,
    ph.events.WorkerLost,
    ph.events.ScheduleMissed,
    ph.events.JobBehind,
    ph.events.QueueChanged,
    ph.events.SchedulePaused,
    ph.events.ScheduleResumed,
    ph.Event,
    ph.events.Progressed,
)
EVENTS = (*get_args(ph.events.Heard), ph.events.SubmittedJob, ph.WorkerMetrics, ph.Submission, ph.RunningAttempt)
"""Types that calls return. `QueueSettings` is left out: its table of settings is compared below."""
INTERNAL_VARIABLES = {"POSTHORSE_FAILPOINT", "POSTHORSE_COMPLETE"}
"""Set by tests of crashes, and by the completion of a shell."""


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@cache
def manual() -> str:
    """Return the pages for users."""
    return "\n".join(text_of(page) for page in (ROOT / "README.md", *sorted(DOCS.glob("*.md"))))


def without_code(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.M | re.S)


@cache
def anchors_of(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as code hosts make them: equal ones are numbered."""
    anchors: set[str] = set()
    seen: Counter[str] = Counter()
    for heading in re.findall(r"^#+ (.*)$", without_code(page), re.M):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")
        anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return anchors


def links_of(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the relative links of a page: each path, empty for the page itself, with its anchor."""
    prose = re.sub(r"`[^`\n]*`", "", without_code(page))
    for target in re.findall(r"\]\(\s*([^)\s]+)", prose):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield path, anchor


def is_documented(name: str) -> bool:
    return re.search(rf"\b{name}\b", manual()) is not None


def rows_below(page: Path, heading: str, column: str) -> dict[str, str]:
    """Return the rows of the table under a heading with that first column: the name in the first cell to the others."""
    chapter = text_of(page).partition(f"\n{heading}\n")[2]
    assert chapter, f"{page.name} has no heading {heading!r}"
    [table] = [part for part in re.split(r"\n\n|(?=\n## )", chapter) if part.lstrip("\n").startswith(f"| {column} |")][
        :1
    ]
    rows: dict[str, str] = {}
    for line in table.strip().splitlines()[2:]:
        first, _, rest = line.strip("|").partition("|")
        rows.update(dict.fromkeys(re.findall(r"`(\w+)`", first), rest))
    return rows


def options_of(function: Callable[..., object]) -> set[str]:
    """Return the keyword-only parameters of a function."""
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for path, anchor in links_of(page):
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {path}"
        if anchor:
            assert anchor in anchors_of(target.resolve()), f"{page.name} links to {path}#{anchor}"


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {(ROOT / path).resolve() for path, _ in links_of(ROOT / "README.md")}
    pages = {page for page in (*ROOT.glob("*.md"), *DOCS.glob("*.md")) if page.name != "README.md"}
    assert pages - linked == set()


@pytest.mark.parametrize("page", ["configuration.md", "queues.md"])
def test_tables_of_options_are_those_of_the_code(page: str) -> None:
    text = text_of(DOCS / page)
    assert text == option_tables.with_tables(page, text), "run python -m tests.option_tables"


def test_every_setting_of_a_queue_is_documented() -> None:
    words = {name: option.means or name for name, option in options_at(OptionPlace.QUEUE).items()}
    assert set(rows_below(DOCS / "queues.md", "## Settings", "setting")) == set(words.values())
    assert [word for word in words if f"`{word}`" not in text_of(DOCS / "queues.md")] == []


def test_every_option_of_a_schedule_is_documented() -> None:
    page = text_of(DOCS / "schedules.md")
    assert [
        name for name in options_of(ph.Posthorse.schedule) if f"`{name}=" not in page and f" {name}=" not in page
    ] == []


def test_every_option_of_a_stock_is_documented() -> None:
    page = text_of(DOCS / "stock.md")
    assert [
        name for name in options_of(ph.Posthorse.stock) if f"`{name}`" not in page and f" {name}=" not in page
    ] == []


def test_every_option_of_an_observer_is_documented() -> None:
    rows = rows_below(DOCS / "retries.md", "## When dead letters grow", "option")
    assert set(rows) == options_of(ph.Posthorse.on)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_every_option_of_a_source_is_documented(source: Callable[..., object]) -> None:
    page = text_of(DOCS / "long-jobs.md")
    assert [name for name in options_of(source) if not re.search(rf"\b{name}\b", page)] == []


@pytest.mark.parametrize(
    "option", [ph.Key, Unique, ph.Rate, ph.Concurrency, ph.Sequence, ph.Backoff, ph.Misfire, ph.Throttle]
)
def test_every_field_of_an_option_is_documented(option: type) -> None:
    assert [name for name in inspect.signature(option).parameters if not is_documented(name)] == []


def test_every_error_is_documented() -> None:
    errors = [
        name for name in ph.__all__ if isinstance(value := getattr(ph, name), type) and issubclass(value, BaseException)
    ]
    assert [name for name in errors if not is_documented(name)] == []


@pytest.mark.parametrize("face", VERBS, ids=lambda face: face.__name__)
def test_every_method_is_documented_by_its_own_name_or_by_that_of_its_twin(face: type) -> None:
    methods = {name for name, value in vars(face).items() if not name.startswith("_") and callable(value)}
    named = {name for name in methods if name.removeprefix("a") not in methods or name.removeprefix("a") == name}
    assert [name for name in sorted(named) if not is_documented(name)] == []


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_of_what_calls_return_is_documented(record: type[msgspec.Struct]) -> None:
    assert [name for name in record.__annotations__ if not is_documented(name)] == []


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_every_event_and_its_fields_are_documented(event: type[msgspec.Struct]) -> None:
    page = re.sub(r"`ph\.(events\.)?", "`", text_of(DOCS / "extending.md"))
    fields = [name for name in event.__annotations__ if not name.startswith("_")]
    assert [name for name in (event.__name__, *fields) if f"`{name}`" not in page] == []


def test_every_name_of_an_event_is_documented_as_its_meaning_says() -> None:
    table = re.findall(r"^\| ((?:`\w+` ?)+)\| (.+) \|$", text_of(DOCS / "timeline.md"), re.MULTILINE)
    told = {name: words for names, words in table for name in re.findall(r"`(\w+)`", names)}
    meant = {name: words for name, words in MEANINGS.items() if name not in ("paused", "resumed", "cancelled")}
    assert {name: re.sub(r" \(\[.+\)$", "", told[name]) for name in meant} == meant
    assert set(MEANINGS) <= told.keys()


def test_every_word_of_a_filter_is_documented() -> None:
    table = text_of(DOCS / "finding.md").partition("## Words")[2].partition("| sign |")[0]
    assert {word.partition(".")[0] for word in re.findall(r"`([a-z]+)[:.]", table)} == WORDS.keys()
    examples = re.findall(r"`((?:[a-z]+[:.])[^ `|]+)`", table)
    for example in examples:
        parse_filter(example.replace("ID", "01936f5e-7c1a-7d2b-8e3f-0123456789ab").replace("…", "1h"))


def test_every_outcome_of_an_attempt_is_documented() -> None:
    page = text_of(DOCS / "extending.md")
    assert [ending for ending in get_args(ph.events.Ending) if f"`{ending}`" not in page] == []


def test_every_variable_that_the_code_reads_is_documented() -> None:
    sources = "\n".join(text_of(path) for path in (ROOT / "src").rglob("*.py"))
    read = set(re.findall(r'"(POSTHORSE_[A-Z_]+)"', sources))
    assert "POSTHORSE_APP" in read
    assert read - INTERNAL_VARIABLES - set(re.findall(r"`(POSTHORSE_[A-Z_]+)`", manual())) == set()


def test_every_target_of_make_is_documented_for_contributors() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    documented = set(re.findall(r"`make ([a-z-]+)", text_of(ROOT / "CONTRIBUTING.md")))
    assert documented == set(targets)
