"""Reading one job over HTTP: tags that save an answer, waits for the end, and ids that lead to nothing."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

import posthorse as ph
from posthorse.web import Role
from tests.web.conftest import API, Login

UNKNOWN = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"


def submitted(client: TestClient, kind: str = "welcome", **args: object) -> str:
    """Submit a job, and return where it is."""
    answer = client.post(f"{API}/jobs", json={"kind": kind, "args": args or {"user_id": 7}})
    assert answer.status_code == 202, answer.text
    return answer.headers["location"]


def test_a_job_that_is_the_same_is_not_sent_again(client: TestClient, shop: ph.Posthorse) -> None:
    place = submitted(client)
    tag = client.get(place).headers["etag"]
    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        same = client.get(place, headers={"If-None-Match": given})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    shop.get_job(place.rpartition("/")[2]).pause()
    changed = client.get(place, headers={"If-None-Match": tag})
    assert (changed.status_code, changed.json()["state"]) == (200, "paused")
    assert changed.headers["etag"] != tag


def test_a_tag_counts_what_holds_a_job_up(client: TestClient, shop: ph.Posthorse) -> None:
    place = submitted(client)
    with shop.worker(queues=["other"]):
        tag = client.get(place).headers["etag"]
        shop.queue("mail").pause()
        assert client.get(place, headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize("given", ["abc", '"a" "b', '"a", b'])
def test_a_malformed_tag_is_refused(client: TestClient, given: str) -> None:
    refused = client.get(submitted(client), headers={"If-None-Match": given})
    assert (refused.status_code, refused.json()["errors"][0]["header"]) == (400, "If-None-Match")


def test_a_long_poll_returns_when_the_job_is_over(client: TestClient, shop: ph.Posthorse) -> None:
    place = submitted(client)
    with shop.worker():
        assert client.get(f"{place}?wait=30").json()["state"] == "completed"
    assert client.get(f"{place}?wait=1000000").json()["state"] == "completed"


@pytest.mark.parametrize("wait", ["abc", "1.5", "9" * 5_000])
def test_a_wait_that_is_none_is_refused(client: TestClient, wait: str) -> None:
    refused = client.get(f"{submitted(client)}?wait={wait}")
    assert (refused.status_code, refused.json()["errors"][0]["parameter"]) == (422, "wait")


@pytest.mark.parametrize(
    "job", [UNKNOWN, "x", "%00", "%2e%2e", "a" * 10_000, "ready", "..%2f..%2fetc", UNKNOWN + "%0d%0aX: y"]
)
def test_an_id_without_a_job_leads_to_nothing(client: TestClient, job: str) -> None:
    nothing = client.get(f"{API}/jobs/{job}")
    assert nothing.status_code == 404
    assert nothing.headers["content-type"] == "application/problem+json"


def test_a_path_that_is_none_and_a_method_that_is_none(client: TestClient) -> None:
    assert client.get(f"{API}/jobs/").status_code == 404
    assert client.get("/api/v1").status_code == 404
    assert client.get("/x/readyz").status_code == 404
    wrong = client.put(f"{API}/jobs")
    assert (wrong.status_code, "POST" in wrong.headers["allow"]) == (405, True)
    overridden = client.get(submitted(client), headers={"X-HTTP-Method-Override": "DELETE"})
    assert overridden.status_code == 200


def test_a_head_has_the_headers_of_a_get(client: TestClient) -> None:
    place = submitted(client)
    head, get = client.head(place), client.get(place)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == get.headers["etag"]
    assert head.headers["content-length"] == get.headers["content-length"]


def test_what_is_personal_is_shown_to_those_who_may_see_it(
    login: Login, client: TestClient, shop: ph.Posthorse
) -> None:
    place = submitted(client, "broken", why="canary")
    with shop.worker():
        assert client.get(f"{place}?wait=30").json()["state"] == "failed"
    blind, seeing = login(Role.VIEWER).get(place).json(), login(Role.VIEWER, sees=True).get(place).json()
    assert blind["error"]["traceback"] is None
    assert "ValueError" in seeing["error"]["traceback"]


def test_probes_ask_for_no_login_and_show_nothing(login: Login) -> None:
    client = login(Role.SUBMITTER)
    assert [client.get(path).json()["ok"] for path in ("/livez", "/readyz")] == [True, True]
