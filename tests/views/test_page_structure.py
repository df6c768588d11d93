"""The page of a report as a browser and a screen reader take it in: parsed as HTML, without drawing it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from typing import get_args

import pytest

from posthorse.views.report.content import ReportBy
from posthorse.views.report.page import report_page
from tests.views.sample_report import EVIL, UNTIL, empty, report

BYS: tuple[ReportBy, ...] = get_args(ReportBy)
VOID = {"meta"}
"""Elements that have no end. Others of HTML must have one, because a browser reads `<div/>` as `<div>`."""

FETCHING = {
    "src",
    "srcset",
    "href",
    "xlink:href",
    "action",
    "formaction",
    "data",
    "poster",
    "background",
    "ping",
    "style",
}
"""Attributes that can make a browser fetch something."""


@dataclass
class Element:
    """An element with what is in it."""

    tag: str
    attributes: dict[str, str]
    parent: Element | None
    children: list[Element] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def all(self, *tags: str) -> list[Element]:
        found = [self] if not tags or self.tag in tags else []
        return found + [inner for child in self.children for inner in child.all(*tags)]

    @property
    def text(self) -> str:
        """All texts in it, in order of their elements."""
        return " ".join([*self.texts, *(child.text for child in self.children)]).strip()

    @property
    def is_in_svg(self) -> bool:
        return self.tag == "svg" or (self.parent is not None and self.parent.is_in_svg)


class Parser(HTMLParser):
    """Parse as a browser does what is well formed, and refuse what is not."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.at = Element("", {}, None)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"{tag} has an attribute twice"
        made = Element(tag, {name: value or "" for name, value in attrs}, self.at)
        self.at.children.append(made)
        if tag not in VOID:
            self.at = made

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            assert self.at.is_in_svg, f"a browser would not end <{tag}/>"
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.at.tag == tag
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.texts.append(data)


def parsed(by: ReportBy = "kind", *, evil: str = "") -> Element:
    text = report_page(report(by=by, evil=evil), store=f"shop.db{evil}", made_at=UNTIL)
    return parse(text)


def parse(text: str) -> Element:
    parser = Parser()
    parser.feed(text)
    parser.close()
    assert parser.at is parser.root, "an element has no end"
    return parser.root


@pytest.mark.parametrize("by", BYS)
def test_the_page_fetches_nothing_and_runs_nothing(by: ReportBy) -> None:
    root = parsed(by, evil=EVIL)
    for found in root.all():
        assert not FETCHING & found.attributes.keys(), found.tag
        assert not [name for name in found.attributes if name.startswith("on")], found.tag
        assert "://" not in " ".join(value for name, value in found.attributes.items() if name != "xmlns")
    assert not root.all("script", "link", "img", "iframe", "object", "embed", "form", "base", "use", "image", "a")
    assert all("http-equiv" not in found.attributes for found in root.all("meta"))
    [style] = root.all("style")
    assert "url(" not in style.text
    assert "@import" not in style.text


@pytest.mark.parametrize("by", BYS)
def test_hostile_names_and_errors_are_text(by: ReportBy) -> None:
    """They add no element and no attribute to the page of a harmless name, and are read as they are."""
    hostile, harmless = parsed(by, evil=EVIL), parsed(by, evil="harmless")
    assert shape(hostile) == shape(harmless)
    markup = "<script>alert(1)</script>&\"'"
    assert markup in hostile.text
    told = Counter(found.tag for found in hostile.all() if any(markup in text for text in found.texts))
    assert told["title"], "pictures of queues and errors are named by them"
    assert told["td"] + told["th"]
    assert "style" not in told


def shape(root: Element) -> list[tuple[str, list[str]]]:
    return [(found.tag, sorted(found.attributes)) for found in root.all()]


@pytest.mark.parametrize("by", BYS)
def test_each_picture_has_a_title_and_a_description(by: ReportBy) -> None:
    root = parsed(by)
    by_id = {found.attributes["id"]: found for found in root.all() if "id" in found.attributes}
    pictures = [found for found in root.all("svg") if found.attributes.get("aria-hidden") != "true"]
    assert len(pictures) > len(root.all("figure")) > 4
    for picture in pictures:
        assert picture.attributes["role"] == "img"
        title, description = (by_id[name] for name in picture.attributes["aria-labelledby"].split())
        assert (title.tag, description.tag) == ("title", "desc")
        assert title.parent is description.parent is picture
        assert title.text
        assert description.text
    for figure in root.all("figure"):
        [caption] = figure.all("figcaption")
        [picture] = figure.all("svg")
        assert picture.all("title")[0].text in caption.text


@pytest.mark.parametrize("by", BYS)
def test_tables_have_headings_and_a_name(by: ReportBy) -> None:
    root = parsed(by)
    assert len(root.all("table")) >= 4
    for table in root.all("table"):
        [head], [body] = table.all("thead"), table.all("tbody")
        headings = head.all("th")
        assert {found.attributes["scope"] for found in headings} == {"col"}
        for line in body.all("tr"):
            assert len(line.children) == len(headings)
        region = table.parent
        assert region is not None
        assert region.attributes["role"] == "region"
        assert region.attributes["tabindex"] == "0", "a keyboard can scroll it"
        assert region.attributes["aria-label"]


@pytest.mark.parametrize("root", [parsed(), parse(report_page(empty(), store="shop.db", made_at=UNTIL))])
def test_the_page_has_an_outline(root: Element) -> None:
    [html] = root.all("html")
    assert html.attributes["lang"] == "en"
    assert root.all("title")[0].text.startswith("Posthorse: ")
    assert len(root.all("main")) == len(root.all("h1")) == 1
    levels = [int(found.tag[1]) for found in root.all("h1", "h2", "h3", "h4")]
    assert all(after <= before + 1 for before, after in pairwise(levels)), "no level is left out"
    ids = [found.attributes["id"] for found in root.all() if "id" in found.attributes]
    assert len(ids) == len(set(ids))
