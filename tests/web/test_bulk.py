"""Many jobs in one request: all or none, or those that are right; each is checked as it would be alone."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

import posthorse as ph
from posthorse.web import Role
from posthorse.web.handlers import bulk
from tests.web.conftest import API, Login

BULK = f"{API}/jobs:bulk"


def welcome(user_id: object, **options: object) -> dict[str, Any]:
    return {"kind": "welcome", "args": {"user_id": user_id}, **options}


def test_many_jobs_are_stored_in_their_order(client: TestClient, shop: ph.Posthorse) -> None:
    answer = client.post(BULK, json={"jobs": [welcome(1), welcome(2, key="k"), welcome(2, key="k")]})
    assert answer.status_code == 202, answer.text
    first, second, third = answer.json()["jobs"]
    assert (first["created"], second["created"], third["created"]) == (True, True, False)
    assert second["id"] == third["id"] != first["id"]
    assert shop.jobs().count() == 2


def test_one_mistake_stores_none_and_is_located(client: TestClient, shop: ph.Posthorse) -> None:
    refused = client.post(BULK, json={"jobs": [welcome(1), welcome("2"), {"kind": 7}]})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/jobs/1/args/user_id")
    assert shop.jobs().count() == 0


def test_those_that_are_right_are_stored_on_demand(client: TestClient, shop: ph.Posthorse) -> None:
    mixed = [welcome(1), welcome("2"), {"kind": 7}, welcome(4, queue=""), welcome(5)]
    answer = client.post(f"{BULK}?atomic=false", json={"jobs": mixed})
    shown = answer.json()["jobs"]
    assert [one["created"] for one in shown] == [True, False, False, False, True]
    assert [one["pointer"] for one in shown] == [None, "/jobs/1/args/user_id", "/jobs/2/kind", "/jobs/3/queue", None]
    assert shop.jobs().count() == 2


@pytest.mark.parametrize("count", [0, 3])
def test_too_few_and_too_many_are_refused(
    client: TestClient, shop: ph.Posthorse, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MAX_JOBS", 2)
    refused = client.post(BULK, json={"jobs": [welcome(1)] * count})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/jobs")
    assert shop.jobs().count() == 0


def test_each_job_of_a_tenant_is_checked(login: Login, shop: ph.Posthorse) -> None:
    acme = login(Role.ADMIN, tenant="acme")
    mixed = {"jobs": [welcome(1), welcome(2, tenant="other")]}
    assert acme.post(BULK, json=mixed).status_code == 403
    assert shop.jobs().count() == 0
    assert [one["created"] for one in acme.post(f"{BULK}?atomic=false", json=mixed).json()["jobs"]] == [True, False]
    assert [job.status().tenant for job in shop.jobs()] == ["acme"]
