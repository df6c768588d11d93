"""Hostile bodies are refused with a problem, store nothing, and never reach a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

import posthorse as ph
from tests.web.conftest import API

JOBS = f"{API}/jobs"
JSON = {"Content-Type": "application/json"}


def body(argument: str) -> bytes:
    """Return a job of a kind whose argument may be anything."""
    return f'{{"kind": "anything", "args": {{"value": {argument}}}}}'.encode()


@pytest.fixture
def anything(shop: ph.Posthorse) -> ph.Posthorse:
    @shop.job
    def anything(value, **named):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN003, ANN202
        return value

    assert anything.kind == "anything"
    return shop


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b'{"kind": "welcome"', 400, id="B1 truncated"),
        pytest.param(b"", 400, id="B2 empty"),
        pytest.param(body("[" * 200_000 + "]" * 200_000), 400, id="B6 deep"),
        pytest.param(body('{"a":' * 200 + "1" + "}" * 200), 400, id="B6 deep objects"),
        pytest.param(body("NaN"), 400, id="B7 NaN"),
        pytest.param(body("Infinity"), 400, id="B7 Infinity"),
        pytest.param(body('"\\ud800"'), 400, id="B11 lone surrogate"),
        pytest.param(b"\xef\xbb\xbf" + body("1"), 400, id="B15 byte order mark"),
        pytest.param(body("1").decode().encode("utf-16"), 400, id="B15 UTF-16"),
        pytest.param(body('"\xff"').replace(b"\xc3\xbf", b"\xff"), 400, id="invalid UTF-8"),
        pytest.param(body("1") + b"x", 400, id="more behind it"),
        pytest.param(b"null", 422, id="B18 null"),
        pytest.param(b"[]", 422, id="a list"),
        pytest.param(b"7", 422, id="a number"),
        pytest.param(b'{"kind": 7}', 422, id="a kind that is none"),
    ],
)
def test_what_is_not_a_job_in_json_is_refused(
    client: TestClient, anything: ph.Posthorse, sent: bytes, status: int
) -> None:
    refused = client.post(JOBS, content=sent, headers=JSON)
    assert refused.status_code == status, refused.text
    assert refused.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in refused.text
    assert len(refused.content) < 2_000
    assert anything.jobs().count() == 0


def test_a_text_without_an_end_is_read_once(client: TestClient) -> None:
    sent = b'{"args": [' + b"[]," * 101 + b'"' + b'\\"' * 500_000
    assert client.post(JOBS, content=sent, headers=JSON).status_code == 400, "each of its quotes began a text anew"


def test_brackets_inside_of_texts_are_not_counted(client: TestClient) -> None:
    sent = {"kind": "welcome", "args": {"user_id": 7, "name": "[" * 200 + '"\\' + "{" * 200}}
    assert client.post(JOBS, json=sent).status_code == 202


@pytest.mark.parametrize(
    "argument",
    [
        pytest.param("1" * 5_000, id="B9 an integer of 5,000 digits"),
        pytest.param("9223372036854775808", id="B10 2^63"),
        pytest.param("9007199254740993", id="B10 2^53+1"),
        pytest.param('"a\\u0000b"', id="B12 NUL"),
        pytest.param("1e400", id="B13 beyond a float"),
        pytest.param("-0.0", id="B13 -0"),
        pytest.param('{"1": 1, "__proto__": {"x": 1}}', id="B14, B16"),
        pytest.param('"!!python/object:os.system"', id="B20"),
        pytest.param("[" * 90 + "]" * 90, id="as deep as is allowed"),
    ],
)
def test_a_value_is_stored_as_it_is_or_refused(client: TestClient, anything: ph.Posthorse, argument: str) -> None:
    answer = client.post(JOBS, content=body(argument), headers=JSON)
    assert answer.status_code in (202, 400, 422), answer.text
    if answer.status_code != 202:
        assert anything.jobs().count() == 0
        return
    with anything.worker():
        result = anything.get_job(answer.json()["id"]).result(timeout=30)
    assert result == json.loads(argument)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"Content-Type": "text/plain"}, 415, id="B3, B48"),
        pytest.param(
            {"Content-Type": "application/x-www-form-urlencoded", "Origin": "http://testserver"}, 415, id="form"
        ),
        pytest.param({"Content-Type": "application/x-www-form-urlencoded"}, 202, id="curl -d"),
        pytest.param({"Content-Type": "application/json; charset=utf-8"}, 202, id="with a charset"),
        pytest.param({}, 415, id="no type"),
        pytest.param(JSON | {"Content-Encoding": "gzip"}, 415, id="B5"),
        pytest.param(JSON | {"Content-Length": "99999999"}, 413, id="B4"),
    ],
)
def test_a_body_must_be_said_to_be_json(client: TestClient, headers: dict[str, str], status: int) -> None:
    sent = b'{"kind": "welcome", "args": {"user_id": 7}}'
    answer = client.post(JOBS, content=sent, headers=headers)
    assert answer.status_code == status, answer.text


def test_a_body_without_an_end_is_cut_off(client: TestClient) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(10_000):
            yield b" " * 65_536

    assert client.post(JOBS, content=endless(), headers=JSON).status_code == 413


@pytest.mark.parametrize("query", ["validate_only=perhaps", "nonsense=1", "validate_only=true&validate_only=false"])
def test_a_parameter_that_is_none_is_refused(client: TestClient, query: str) -> None:
    refused = client.post(f"{JOBS}?{query}", json={"kind": "welcome", "args": {"user_id": 7}})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["parameter"] == query.partition("=")[0]
