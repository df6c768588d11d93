"""Figures over time, as an application reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

import posthorse as ph
from posthorse.views.figures import Figures


def test_a_store_where_nothing_happened_has_no_figures(app: ph.Posthorse) -> None:
    app.migrate()
    figures = app.figures()
    assert (figures.rows, figures.depths, figures.errors, figures.releases) == ([], [], [], [])
    assert figures.until - figures.since == timedelta(days=1)
    assert msgspec.json.decode(figures.to_json(), type=Figures) == figures


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"by": "colour"}, "by is 'colour'"),
        ({"since": "1h", "until": "2h"}, "must be before"),
        ({"since": datetime(2030, 1, 1)}, "must have a time zone"),  # noqa: DTZ001  # wrong on purpose
        ({"since": datetime(2030, 1, 1, tzinfo=UTC), "until": datetime(2029, 1, 1, tzinfo=UTC)}, "must be before"),
    ],
)
def test_figures_that_cannot_be_had_are_refused(app: ph.Posthorse, words: dict[str, object], complaint: str) -> None:
    app.migrate()
    with pytest.raises(ph.InvalidOption, match=complaint):
        app.figures(**words)  # type: ignore[arg-type]  # wrong on purpose
