"""The manual lists every route, every option of a submitted job, every role and every problem."""

from __future__ import annotations

import re
from pathlib import Path

from posthorse.web import Access, Role
from posthorse.web.handlers.submit import NewJobBody
from posthorse.web.problems import MEANINGS
from posthorse.web.routes import ROUTES

PAGE = (Path(__file__).parents[2] / "docs" / "service.md").read_text(encoding="utf-8")
SRC = Path(__file__).parents[2] / "src" / "posthorse" / "web"


def test_every_route_is_listed_once() -> None:
    listed = re.findall(r"^\| `([A-Z]+) (/[^`]*)` \|", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted((route.method, route.path.replace(":path}", "}")) for route in ROUTES)


def test_routes_have_names_of_their_own() -> None:
    assert len({route.name for route in ROUTES}) == len(ROUTES)


def test_every_field_of_a_job_and_of_an_access_is_listed() -> None:
    fields = (*NewJobBody.__struct_fields__, *Access.__annotations__, *Role)
    assert [name for name in fields if f"`{name}`" not in PAGE] == []


def test_every_problem_is_listed() -> None:
    chapter = PAGE.partition("## Problems")[2].partition("\n## ")[0]
    told = {meaning.name for meaning in MEANINGS.values()} - {"store-error", "invalid-request"}
    source = "\n".join(path.read_text(encoding="utf-8") for path in SRC.rglob("*.py"))
    told |= set(re.findall(r'Problem\(\s*\d+,\s*"([a-z-]+)"', source))
    assert sorted(name for name in told if f"`{name}`" not in chapter) == []
