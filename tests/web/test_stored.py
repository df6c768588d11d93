"""What is stored counts: no read that fails behind it changes that."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

import posthorse as ph
from posthorse.app.job import Job
from posthorse.store.operations import read
from posthorse.web import Role
from posthorse.web.waits import Waits
from tests.web.conftest import API, Login
from tests.web.test_overview import bound_welcome
from tests.web.test_reading import submitted

JOBS = f"{API}/jobs"
WELCOME: dict[str, Any] = {"kind": "welcome", "args": {"user_id": 7}}


@pytest.fixture
def nothing_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the store go away once the job is stored."""

    async def away(*_: object) -> None:
        raise ph.StoreUnreachable("the store does not respond")

    monkeypatch.setattr(Job, "astatus", away)
    monkeypatch.setattr(Waits, "outcome", away)


@pytest.mark.usefixtures("nothing_read")
@pytest.mark.parametrize("headers", [{}, {"Prefer": "wait=5"}])
def test_a_stored_job_says_where_it_is_even_if_it_cannot_be_read(
    client: TestClient, shop: ph.Posthorse, headers: dict[str, str]
) -> None:
    stored = client.post(JOBS, json=WELCOME, headers=headers)
    assert stored.status_code == 202, stored.text
    [job] = shop.jobs()
    assert (stored.json(), stored.headers["location"]) == ({"id": job.id}, f"{JOBS}/{job.id}")


def test_a_steered_job_says_so_even_if_it_cannot_be_read(
    client: TestClient, shop: ph.Posthorse, request: pytest.FixtureRequest
) -> None:
    place = submitted(client)
    request.getfixturevalue("nothing_read")
    steered = client.post(f"{place}:cancel")
    assert (steered.status_code, steered.json()) == (202, {"id": place.rpartition("/")[2]})
    assert shop.jobs("state:cancelled").count() == 1


@pytest.mark.usefixtures("nothing_read")
def test_a_schedule_is_triggered_once_even_if_its_job_cannot_be_read(client: TestClient, shop: ph.Posthorse) -> None:
    shop.schedule(bound_welcome(shop), name="nightly", cron="0 3 * * *", tz="Europe/Berlin")
    assert client.post(f"{API}/schedules/nightly:trigger").status_code == 202
    assert shop.jobs().count() == 1


def test_a_replay_leads_to_a_job_whose_result_or_self_was_removed(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def expired(*_: object) -> None:
        raise ph.ResultExpired("retention has removed it")

    async def forgotten(*_: object) -> None:
        raise ph.JobForgotten("retention has removed it")

    once = {"Idempotency-Key": "once", "Prefer": "wait=0"}
    first = client.post(JOBS, json=WELCOME, headers=once)
    monkeypatch.setattr(Waits, "outcome", expired)
    replayed = client.post(JOBS, json=WELCOME, headers=once)
    assert (replayed.status_code, replayed.json()["state"]) == (202, "pending")
    monkeypatch.setattr(Job, "astatus", forgotten)
    gone = client.post(JOBS, json=WELCOME, headers=once)
    assert (gone.status_code, gone.headers["location"]) == (202, first.headers["location"])


def test_it_is_unknown_what_happened_if_it_cannot_be_read_whose_job_it_is(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: str) -> None:
        raise ph.StoreUnreachable("the store does not respond")

    eva = login(Role.SUBMITTER)
    eva.post(JOBS, json=WELCOME, headers={"Idempotency-Key": "once"})
    monkeypatch.setattr(read, "job", away)
    unknown = eva.post(JOBS, json=WELCOME, headers={"Idempotency-Key": "once"})
    assert (unknown.status_code, unknown.json()["type"]) == (503, "urn:posthorse:problem:outcome-unknown")
