"""Every error has one form, and none shows what is not for clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

import posthorse as ph
import posthorse.errors
from posthorse.errors import PosthorseError
from posthorse.web.problems import problem_of
from posthorse.web.service import Service
from tests.web.conftest import API, HOST

INSIDE_JOBS_ALONE = {ph.JobFailed, ph.JobCancelled, ph.EventTimeout, ph.ToleranceExceeded, PosthorseError}
NO_ROUTE_RAISES = {ph.StockEmpty, ph.StockNotFound}


def errors() -> Iterator[type[PosthorseError]]:
    for kind in vars(posthorse.errors).values():
        if (
            isinstance(kind, type)
            and issubclass(kind, PosthorseError)
            and kind not in INSIDE_JOBS_ALONE | NO_ROUTE_RAISES
        ):
            yield kind


@pytest.mark.parametrize("kind", list(errors()))
def test_every_error_that_a_request_may_meet_has_a_meaning(kind: type[PosthorseError]) -> None:
    error = kind.__new__(kind)
    error.args = ("what happened",)
    if isinstance(error, ph.QueueFull):
        error.retry_after = 1.5
    problem = problem_of(error)
    assert problem is not None
    assert 400 <= problem.status < 600
    if problem.status == 503:
        assert int(problem.headers["Retry-After"]) >= 1


def test_a_store_that_is_away_is_not_named(caplog: pytest.LogCaptureFixture) -> None:
    app = ph.Posthorse("postgresql://ada:canary@127.0.0.1:1/none", store_timeout="0.1s")
    with TestClient(Service(app, hosts={HOST}, is_open=True)) as client:
        away = client.get(f"{API}/jobs/01936f5e-7c1a-7d2b-8e3f-0123456789ab")
        ready, live = client.get("/readyz"), client.get("/livez")
    assert (away.status_code, away.json()["type"]) == (503, "urn:posthorse:problem:store-unreachable")
    assert "retry-after" in away.headers
    assert (ready.status_code, live.status_code) == (503, 200)
    for text in (away.text, ready.text):
        assert not {"127.0.0.1", "ada", "canary"} & set(text.replace("@", " ").replace(":", " ").split())
    app.close()
