"""The alerts and the dashboard of `deploy/` ask for metrics and labels that a worker has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import promql_parser
import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from tests.processes.test_pages import HEAD, SHOP, listening, read
from tests.project import Project
from tests.waiting import until, until_state

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
DASHBOARD = DEPLOY / "grafana" / "posthorse.json"

SCHEDULED = '\napp.schedule(plain.bind(), name="hourly", cron="0 * * * *")\n'


def alerts() -> Iterator[tuple[str, str]]:
    """Yield the name and expression of each alert."""
    for group in cast("Any", YAML(typ="safe").load(RULES))["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def panels() -> Iterator[tuple[str, str]]:
    """Yield the title and expression of each line of the dashboard, as Grafana sends it."""
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m").replace("$queue", "mail|default")


EXPRESSIONS = [*alerts(), *panels()]


def selectors(expression: str) -> list[promql_parser.VectorSelector]:
    """Return what an expression selects. Raises ValueError if Prometheus could not read it."""
    found: list[promql_parser.VectorSelector] = []

    def note(part: promql_parser.Expr) -> bool:
        if isinstance(part, promql_parser.VectorSelector):
            found.append(part)
        return True

    promql_parser.walk(promql_parser.parse(expression), note)
    return found


@pytest.fixture
def known(project: Project) -> dict[str, set[str]]:
    """Return the labels of each metric that a worker shows once it did something."""
    project.write(SHOP + SCHEDULED, head=HEAD)
    with listening(project) as (_, url):
        until_state(project.job("plain"), "completed")
        until_state(project.job("bad"), "failed")
        until(lambda: all(name in read(f"{url}/metrics")[1] for name in ("plain", "bad", "hourly")))
        text = read(f"{url}/metrics")[1]
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_each_expression_asks_for_metrics_that_a_worker_shows_by_labels_that_they_have(
    known: dict[str, set[str]],
) -> None:
    for title, expression in EXPRESSIONS:
        parts = selectors(expression)
        assert parts, title
        labels: set[str] = set()
        for part in parts:
            assert part.name in known, f"{title} asks for {part.name}"
            labels |= known[part.name]
            assert {matcher.name for matcher in part.matchers.matchers} <= known[part.name], title
        grouped = {name for names in re.findall(r"by \(([^)]*)\)", expression) for name in names.split(", ")}
        assert grouped <= labels, f"{title} groups by {grouped - labels}"


def test_alerts_and_panels_name_labels_that_are_left(known: dict[str, set[str]]) -> None:
    """A label that an expression adds up over is not there any more for a text to name it."""
    texts = {
        rule["alert"]: str(rule["annotations"])
        for rule in cast("Any", YAML(typ="safe").load(RULES))["groups"][0]["rules"]
    }
    for name, expression in alerts():
        grouped = {label for labels in re.findall(r"by \(([^)]*)\)", expression) for label in labels.split(", ")}
        assert set(re.findall(r"\$labels\.(\w+)", texts[name])) <= grouped, name
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel["targets"]:
            grouped = {
                label for labels in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in labels.split(", ")
            }
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= grouped, panel["title"]


def test_each_metric_that_an_alert_needs_can_be_told_from_a_wrong_one() -> None:
    with pytest.raises(ValueError, match=r"."):
        selectors("sum by (queue (jobs_started_total)")
    assert [part.name for part in selectors('rate(jobs_started_total{queue="a"}[5m]) > absent(jobs_workers)')] == [
        "jobs_started_total",
        "jobs_workers",
    ]
