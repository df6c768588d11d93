"""The option tables in the documents, made from the table in the code.

    python -m tests.option_tables       # write them into the pages

A test compares the pages with what this would write.
"""

from __future__ import annotations

import re
from pathlib import Path

from posthorse.app.configure import PREFIX
from posthorse.cli.options import flags_of
from posthorse.rules.durations import as_text, as_timedelta
from posthorse.rules.options.option import Option, OptionPlace
from posthorse.rules.options.table import OPTIONS, options_at
from posthorse.rules.queues import QueueSettings
from posthorse.rules.registry import KindOptions
from posthorse.rules.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
COLUMNS = (OptionPlace.JOB, OptionPlace.USING, OptionPlace.ON)


def settings() -> list[list[str]]:
    """Return the settings of an application."""
    defaults = Settings()
    return [
        ["setting", "variable", "default", "what it is"],
        *(
            [named(option), f"`{PREFIX}{name.upper()}`", default_of(option, defaults), option.line]
            for name, option in options_at(OptionPlace.SETTING).items()
        ),
    ]


def options_of_jobs() -> list[list[str]]:
    """Return the options of a kind of job, and of a single job."""
    rows = [["option", "`@app.job`", "`using`", "`app.on`", "`posthorse enqueue`", "default", "what it is"]]
    for option in OPTIONS:
        if OptionPlace.JOB in option.where or OptionPlace.USING in option.where:
            marks = ["×" if place in option.where else "" for place in COLUMNS]
            flag = f"`{flags_of(option.name)[-1]}`" if OptionPlace.ENQUEUE in option.where else ""
            rows.append([named(option), *marks, flag, default_of(option, KindOptions()), option.line])
    return rows


def settings_of_queues() -> list[list[str]]:
    """Return the settings of a queue; synonyms are described below the table."""
    return [
        ["setting", "default", "what it is"],
        *(
            [named(option), default_of(option, QueueSettings()), option.line]
            for option in options_at(OptionPlace.QUEUE).values()
            if not option.means
        ),
    ]


TABLES = {
    "settings": ("configuration.md", settings),
    "options of jobs": ("configuration.md", options_of_jobs),
    "settings of queues": ("queues.md", settings_of_queues),
}


def with_tables(page: str, text: str) -> str:
    """Return the text of a page with its tables as the code has them."""
    for name, (its_page, rows) in TABLES.items():
        if its_page == page:
            marker = f"<!-- {name}: written by python -m tests.option_tables -->\n\n"
            start, found, rest = text.partition(marker)
            assert found, f"{page} has no line {marker.strip()}"
            old = re.match(r"(?:\|.*\n)*", rest)
            assert old is not None
            text = start + marker + as_markdown(rows()) + rest[old.end() :]
    return text


def as_markdown(rows: list[list[str]]) -> str:
    head, *body = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(re.sub(r" +", " ", f"| {' | '.join(row)} |") for row in body)]) + "\n"


def named(option: Option) -> str:
    """Return the name, as a link if a page says more."""
    return f"[`{option.name}`]({option.page})" if option.page else f"`{option.name}`"


def default_of(option: Option, defaults: object) -> str:
    """Return what applies without the option."""
    if option.default is not None:
        return option.default
    value = getattr(defaults, option.name)
    is_plain = isinstance(value, int) or value is None or not value
    return as_words(value) if is_plain else f"`{as_words(value)}`"


def as_words(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return as_text(as_timedelta(value, name="default"))
    return "none" if value in (None, (), {}) else str(value)


def main() -> None:
    """Write the tables into their pages."""
    for page in sorted({page for page, _ in TABLES.values()}):
        path = DOCS / page
        path.write_text(with_tables(page, path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
