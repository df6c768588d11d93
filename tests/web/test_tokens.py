"""Tokens: made, shown, replaced and ended; the store keeps none of their secrets."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

import posthorse as ph
from posthorse.app.tokens import Wanted, create_token, find_token, revoke_token, rotate_token
from posthorse.app.verbs import drive
from posthorse.cli.root import root
from posthorse.rules.tokens import Role, ShownToken, read_token
from posthorse.store.operations.tokens import tokens
from posthorse.web import service
from posthorse.web.service import Service
from tests.web.conftest import API, HOST

JOBS = f"{API}/jobs"
WELCOME = {"kind": "welcome", "args": {"user_id": 7}}


def made(shop: ph.Posthorse, role: Role = Role.ADMIN, **wanted: object) -> ShownToken:
    return drive(create_token(shop, Wanted("shop", role, "test", **wanted)))  # type: ignore[arg-type]


def bearer(token: object) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_the_first_token_closes_what_was_open(client: TestClient, shop: ph.Posthorse) -> None:
    assert client.get(JOBS).status_code == 200
    token = made(shop)
    refused = client.get(JOBS)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert client.get(JOBS, headers=bearer(token)).status_code == 200
    assert client.get("/readyz").status_code == 200
    drive(revoke_token(shop, token.id))
    assert client.get(JOBS, headers=bearer(token)).status_code == 401
    assert client.get(JOBS).status_code == 401, "revoking the last one does not open it again"


def test_a_token_gives_its_role_its_tenant_and_what_it_sees(client: TestClient, shop: ph.Posthorse) -> None:
    token = made(shop, Role.SUBMITTER, tenant="acme")
    job = client.post(JOBS, json=WELCOME, headers=bearer(token))
    assert (job.status_code, job.json()["tenant"]) == (202, "acme")
    assert client.get(JOBS, headers=bearer(token)).status_code == 403
    blind, seeing = made(shop, Role.VIEWER), made(shop, Role.VIEWER, sees_arguments=True)
    place = f"{job.headers['location']}/arguments"
    assert [client.get(place, headers=bearer(one)).status_code for one in (token, blind, seeing)] == [200, 403, 200]


def test_a_token_works_beside_the_login_of_the_application_around(shop: ph.Posthorse, clients: ExitStack) -> None:
    for authenticate in (None, lambda _: None):
        client = clients.enter_context(TestClient(service(shop, authenticate=authenticate)))
        assert client.get(JOBS, headers=bearer(made(shop))).status_code == 200


def test_what_is_no_token_is_refused(client: TestClient, shop: ph.Posthorse) -> None:
    token = made(shop)
    other = made(shop)
    for wrong in (
        "",
        "x",
        "ph_" + "0" * 10_000,
        f"ph_{token.id}_{other.secret}",
        f"ph_{token.id}_{'A' * 43}",
        f"ph_{'0' * 12}_{token.secret}",
        f"{token}x",
        drive(find_token(shop, token.id)).digest,
    ):
        assert client.get(JOBS, headers=bearer(wrong)).status_code == 401, wrong
    basic = {"Authorization": f"Basic {token}"}
    assert client.get(JOBS, headers=basic).status_code == 401


def test_a_bearer_may_come_from_a_page_of_another_site(client: TestClient, shop: ph.Posthorse) -> None:
    headers = bearer(made(shop)) | {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
    assert client.post(JOBS, json=WELCOME, headers=headers).status_code == 202


def test_an_older_token_counts_for_a_while_after_a_rotation(shop: ph.Posthorse, client: TestClient) -> None:
    first = made(shop, Role.VIEWER, tenant="acme")
    second = drive(rotate_token(shop, first.id, by="test"))
    third = drive(rotate_token(shop, second.id, by="test", overlap=0))
    statuses = [client.get(JOBS, headers=bearer(one)).status_code for one in (first, second, third)]
    assert statuses == [200, 401, 200]
    row = drive(find_token(shop, third.id))
    assert (row.name, row.role, row.tenant, row.is_good) == ("shop", "viewer", "acme", 1)
    with pytest.raises(ph.InvalidOption, match="was revoked or has expired"):
        drive(rotate_token(shop, second.id, by="test"))
    assert len(shop.store.read(tokens())) == 3


def test_a_token_expires(shop: ph.Posthorse, client: TestClient) -> None:
    short = made(shop, expires=1e-6)
    assert client.get(JOBS, headers=bearer(short)).status_code == 401
    with pytest.raises(ph.InvalidOption, match="longer than zero"):
        made(shop, expires=0)


def test_the_store_keeps_no_secret_and_notes_the_use(shop: ph.Posthorse, client: TestClient) -> None:
    token = made(shop)
    [before] = shop.store.read(tokens())
    assert (before.used_at, token.secret in repr(before)) == (None, False)
    client.get(JOBS, headers=bearer(token))
    [used] = shop.store.read(tokens())
    client.get(JOBS, headers=bearer(token))
    assert shop.store.read(tokens()) == [used], "once an hour is enough"
    assert used.used_at is not None


def test_a_text_is_read_as_a_token_or_not_at_all() -> None:
    token = ShownToken("0123456789ab", "A" * 43)
    assert read_token(str(token)) == token
    assert [read_token(text) for text in ("", "ph__", f"{token}\n", str(token).upper())] == [None] * 4


def test_the_command_makes_lists_replaces_and_ends_them(sqlite_url: str) -> None:
    def run(*words: str) -> str:
        done = CliRunner().invoke(root, ["tokens", *words, "--url", sqlite_url])
        assert done.exit_code == 0, done.output
        return done.stdout

    token = read_token(run("create", "shop", "--role", "operator", "--tenant", "acme", "--expires", "90d").strip())
    assert token is not None
    rotated = json.loads(run("rotate", token.id, "--json"))
    run("revoke", token.id)
    listed = json.loads(run("--json"))
    assert [(one["id"], one["state"], one["role"]) for one in listed] == [
        (token.id, "revoked", "operator"),
        (rotated["id"], "good", "operator"),
    ]
    assert token.secret not in run() + run("--json")
    assert CliRunner().invoke(root, ["tokens", "revoke", "x", "--url", sqlite_url]).exit_code == 2


def test_other_machines_are_let_in_with_tokens_alone(store_url: str) -> None:
    app = ph.Posthorse(store_url)
    with TestClient(Service(app, hosts={HOST})) as client:
        assert client.get(JOBS).status_code == 403
        token = made(app)
        assert client.get(JOBS, headers=bearer(token)).status_code == 200
    app.close()
