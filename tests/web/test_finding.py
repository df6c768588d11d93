"""Lists, counts, and what belongs to one job: as Python has them, of the jobs that the caller may see."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

import posthorse as ph
from posthorse.web import Role
from tests.web.conftest import API, Login
from tests.web.test_reading import submitted

JOBS = f"{API}/jobs"


def test_pages_follow_each_other_to_the_end(client: TestClient) -> None:
    ids = [submitted(client).rpartition("/")[2] for _ in range(5)]
    seen: list[str] = []
    page = client.get(f"{JOBS}?limit=2").json()
    while page["next"] is not None:
        seen += [job["id"] for job in page["jobs"]]
        page = client.get(f"{JOBS}?limit=2&after={page['next']}").json()
    seen += [job["id"] for job in page["jobs"]]
    assert seen == ids[::-1]
    assert page["searched"] == {"back_to": None, "complete": True}


def test_a_filter_chooses_jobs_and_counts_them(client: TestClient) -> None:
    submitted(client), submitted(client, "broken", why="x")
    assert [job["kind"] for job in client.get(JOBS, params={"q": "kind:welcome"}).json()["jobs"]] == ["welcome"]
    assert client.get(f"{JOBS}:count", params={"q": "kind:welc*"}).json() == {"count": 1, "is_exact": True, "text": "1"}
    assert len(client.get(JOBS, params={"limit": 10**9}).json()["jobs"]) == 2, "too many count as the most"


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ('q="unbalanced', "q"),
        ("q=nonsense:1", "q"),
        ("q=" + "tag:a " * 200, "q"),
        ("after=abc", "after"),
        ("after=", "after"),
        ("sort=id", "sort"),
    ],
)
def test_a_list_that_cannot_be_made_says_which_parameter_is_wrong(
    client: TestClient, query: str, parameter: str
) -> None:
    refused = client.get(f"{JOBS}?{query}")
    assert refused.status_code == 422, refused.text
    assert refused.json()["errors"][0]["parameter"] == parameter


def test_a_cursor_is_good_for_its_filter_alone(client: TestClient) -> None:
    for _ in range(3):
        submitted(client)
    cursor = client.get(f"{JOBS}?limit=1").json()["next"]
    assert client.get(JOBS, params={"after": cursor, "q": "kind:welcome"}).status_code == 422
    assert client.get(JOBS, params={"after": f"{cursor[:-2]}xx"}).status_code == 422


def test_a_tenant_finds_its_own_jobs_alone(client: TestClient, login: Login, shop: ph.Posthorse) -> None:
    for tenant in ("acme", "other"):
        sent = {"kind": "welcome", "args": {"user_id": 7}, "tenant": tenant}
        for _ in range(2):
            assert client.post(JOBS, json=sent).status_code == 202
    acme = login(Role.ADMIN, tenant="acme", sees=True)
    page = acme.get(f"{JOBS}?limit=1").json()
    assert [job["tenant"] for job in page["jobs"]] == ["acme"]
    assert acme.get(f"{JOBS}:count").json()["count"] == 2
    assert acme.get(JOBS, params={"q": "-tenant:acme"}).json()["jobs"] == []
    assert acme.get(JOBS, params={"q": "tenant:other"}).status_code == 422, "a job has one tenant"
    other = login(Role.ADMIN, tenant="other", sees=True)
    assert other.get(JOBS, params={"after": page["next"]}).status_code == 422, "the cursor of another tenant"
    foreign = page["jobs"][0]["id"]
    for path in ("", "/arguments", "/result", "/attempts", "/events", "/logs", "/bad-items", "/why", "/graph"):
        assert other.get(f"{JOBS}/{foreign}{path}").status_code == 404, path
        assert acme.get(f"{JOBS}/{foreign}{path}").status_code in (200, 409), path
    for verb in ("cancel", "pause", "resume", "retry", "discard"):
        assert other.post(f"{JOBS}/{foreign}:{verb}").status_code == 404, verb
    assert other.post(f"{JOBS}/{foreign}:event", json={"name": "x"}).status_code == 404
    assert other.delete(f"{JOBS}/{foreign}").status_code == 404
    assert shop.get_job(foreign).status().state == "pending"


def test_everything_that_belongs_to_a_job_is_there(client: TestClient, shop: ph.Posthorse) -> None:
    place = submitted(client, user_id=7, name="eva")
    assert client.get(f"{place}/arguments").json() == {"arguments": {"user_id": 7, "name": "eva"}}
    early = client.get(f"{place}/result")
    assert (early.status_code, early.json()["type"]) == (409, "urn:posthorse:problem:not-over")
    assert client.get(f"{place}/why").json()["reasons"][0]["code"] == "no_worker"
    with shop.worker():
        client.get(f"{place}?wait=30")
    assert client.get(f"{place}/result").json()["result"] == "welcome 7 eva"
    assert [one["outcome"] for one in client.get(f"{place}/attempts").json()["attempts"]] == ["completed"]
    events = client.get(f"{place}/events").json()["events"]
    assert [one["name"] for one in events][-1] == "completed"
    assert client.get(f"{place}/events?after={events[0]['number']}").json()["events"] == events[1:]
    assert client.get(f"{place}/graph").json()["edges"] == []
    assert client.get(f"{place}/bad-items").json() == {"bad_items": []}


def test_a_failed_job_has_an_error_in_place_of_a_result(client: TestClient, shop: ph.Posthorse) -> None:
    place = submitted(client, "broken", why="x")
    with shop.worker():
        client.get(f"{place}?wait=30")
    outcome = client.get(f"{place}/result").json()
    assert (outcome["state"], outcome["result"], outcome["error"]["message"]) == ("failed", None, "x")


def test_lines_of_a_log_come_in_pages(client: TestClient, shop: ph.Posthorse) -> None:
    @shop.job
    def talk(ctx: ph.Context) -> None:
        for number in range(5):
            ctx.log.warning("line %d", number)

    assert talk.kind == "talk"
    answer = client.post(JOBS, json={"kind": "talk"})
    place = answer.headers["location"]
    with shop.worker():
        client.get(f"{place}?wait=30")
    first = client.get(f"{place}/logs?limit=3").json()
    rest = client.get(f"{place}/logs", params={"after": first["next"]}).json()
    assert [line["message"] for line in (*first["lines"], *rest["lines"])] == [f"line {number}" for number in range(5)]
    assert rest["next"] is None
    for wrong in ("after=x", "after=1", "attempt=0", "limit=0"):
        assert client.get(f"{place}/logs?{wrong}").status_code == 422


def test_tracebacks_and_arguments_in_events_are_shown_to_those_who_may_see_them(
    client: TestClient, login: Login, shop: ph.Posthorse
) -> None:
    place = submitted(client, "broken", why="canary-argument")
    with shop.worker():
        client.get(f"{place}?wait=30")
    client.post(f"{place}:retry", json={"arguments": {"why": "other"}})
    blind, seeing = login(Role.VIEWER), login(Role.VIEWER, sees=True)
    for path in ("", "/attempts", "/events"):
        assert "Traceback" not in blind.get(f"{place}{path}").text, path
    assert "before" not in blind.get(f"{place}/events").text
    assert "canary-argument" in seeing.get(f"{place}/events").text
    assert "Traceback" in seeing.get(f"{place}/attempts").text


def test_a_tenant_learns_nothing_of_the_jobs_around_its_own(
    client: TestClient, login: Login, shop: ph.Posthorse
) -> None:
    @shop.job(concurrency=1)
    def shared() -> None: ...

    hidden = shared.using(tenant="other").enqueue()
    flow = shop.workflow("pair")
    flow.add(shared.using(tenant="acme").bind(), after=hidden)
    place = f"{JOBS}/{flow.enqueue().id}"
    step = next(job.id for job in shop.jobs(kind="shared", tenant="acme"))
    acme, other = (login(Role.VIEWER, tenant=tenant) for tenant in ("acme", "other"))
    assert hidden.id in client.get(f"{JOBS}/{step}/graph").text
    assert hidden.id in client.get(f"{JOBS}/{step}/why").text
    for path in ("graph", "why"):
        assert hidden.id not in acme.get(f"{JOBS}/{step}/{path}").text, path
        assert step not in other.get(f"{JOBS}/{hidden.id}/{path}").text, path
    assert acme.get(f"{JOBS}/{step}/why").json()["reasons"][0]["facts"] == {}
    assert acme.get(place).status_code == 404, "the flow itself has no tenant"


@pytest.mark.parametrize("word", ["args.user_id:7", "-args.user_id:>8", "meta.user:7", "state:pending meta.user:a*"])
def test_a_filter_looks_into_no_data_that_is_hidden(client: TestClient, login: Login, word: str) -> None:
    submitted(client)
    blind, seeing = login(Role.OPERATOR), login(Role.OPERATOR, sees=True)
    for path in (JOBS, f"{JOBS}:count"):
        refused = blind.get(path, params={"q": word})
        assert (refused.status_code, refused.json()["type"]) == (403, "urn:posthorse:problem:forbidden")
        assert seeing.get(path, params={"q": word}).status_code == 200
        assert blind.get(path, params={"q": "state:pending"}).status_code == 200
