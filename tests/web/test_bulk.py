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


def test_a_job_that_is_too_large_is_passed_over_on_demand(client: TestClient, shop: ph.Posthorse) -> None:
    mixed = {"jobs": [welcome(1), {"kind": "broken", "args": {"why": "x" * (5 * 1024 * 1024)}}, welcome(3)]}
    assert client.post(BULK, json=mixed).status_code == 413
    assert shop.jobs().count() == 0
    shown = client.post(f"{BULK}?atomic=false", json=mixed).json()["jobs"]
    assert [(one["created"], one["pointer"]) for one in shown] == [(True, None), (False, "/jobs/1"), (True, None)]


def test_a_submitter_learns_no_ids_of_others(login: Login, shop: ph.Posthorse) -> None:
    eva, adam = login(Role.SUBMITTER, name="eva"), login(Role.SUBMITTER, name="adam")
    own = eva.post(BULK, json={"jobs": [welcome(1, key="k")]}).json()["jobs"][0]["id"]
    seen = eva.post(BULK, json={"jobs": [welcome(1, key="k")]}).json()["jobs"]
    assert (seen[0]["id"], seen[0]["created"]) == (own, False)
    taken = adam.post(BULK, json={"jobs": [welcome(1, key="k"), welcome(2)]})
    first, second = taken.json()["jobs"]
    assert (first["id"], first["created"], first["pointer"], second["created"]) == (None, False, "/jobs/0", True)
    conflict = adam.post(BULK, json={"jobs": [welcome(9, key="k")]})
    assert (conflict.status_code, conflict.json()["type"]) == (409, "urn:posthorse:problem:key-conflict")
    assert own not in taken.text + conflict.text
    assert shop.jobs().count() == 2
