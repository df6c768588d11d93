"""`posthorse serve` as a process: what is typed, a stop that waits for no client, and what is refused at the start."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest
import uvicorn
from click.testing import CliRunner

from posthorse.app.client import Posthorse
from posthorse.cli.root import root
from posthorse.web import serving
from posthorse.web.service import Service
from tests.project import Project

SHOP = """
@app.job
def welcome(user_id: int) -> str:
    return f"welcome {user_id}"
"""


@contextmanager
def serving_process(project: Project, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `posthorse serve` until the end of the block; yield it with its address."""
    process = subprocess.Popen(
        project.command("serve", "--listen", "127.0.0.1:0", "--json", *words),
        cwd=project.folder,
        env=project.environment_of_processes(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()
        yield process, json.loads(line)["address"]
    finally:
        process.kill()
        process.communicate()


def test_a_fresh_file_needs_no_other_step_and_sigterm_ends_waiting_requests(project: Project) -> None:
    project.write(SHOP)
    with (
        serving_process(project) as (process, address),
        httpx.Client(base_url=f"{address}/api/v1", timeout=60) as client,
    ):
        with project.working():
            sent = '{"kind":"welcome","args":{"user_id":7}}'
            done = client.post(
                "/jobs",
                content=sent,
                headers={"Prefer": "wait=30", "Content-Type": "application/x-www-form-urlencoded"},
            )
            assert (done.status_code, done.json()["result"]) == (200, "welcome 7"), done.text
        waiting = client.post("/jobs", json={"kind": "welcome", "args": {"user_id": 8}}).headers["location"]
        heads: list[int] = []
        with httpx.stream("GET", f"{address}/livez"):  # a connection that stays open
            thread = threading.Thread(
                target=lambda: heads.append(httpx.get(f"{address}{waiting}?wait=60", timeout=60).status_code)
            )
            thread.start()
            until_waiting(address)
            process.send_signal(signal.SIGTERM)
            assert process.wait(6) == 0
            thread.join()
        assert heads == [200]


def until_waiting(address: str) -> None:
    """Return once the service has accepted what was sent before: it takes connections in their order."""
    assert httpx.get(f"{address}/livez").status_code == 200


def test_a_file_of_sockets_serves_this_user_alone(project: Project, open_folder: Path) -> None:
    project.write(SHOP)
    file = open_folder / "s.sock"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(file))
    with serving_process(project, "--listen", f"unix:{file}"):
        assert file.stat().st_mode & 0o777 == 0o600
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(file))) as client:
            assert client.get("http://anything/readyz").json() == {"ok": True, "problem": None}
        assert project.run("serve", "--listen", f"unix:{file}").returncode == 2


@pytest.mark.parametrize(
    "address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:80", "example.org:80", "nonsense", "127.0.0.1:99999"]
)
def test_an_address_that_others_reach_is_refused(sqlite_url: str, address: str) -> None:
    refused = CliRunner().invoke(root, ["serve", "--url", sqlite_url, "--listen", address])
    assert (refused.exit_code, refused.stdout) == (2, ""), refused.output
    assert "--listen" in refused.stderr


@pytest.mark.parametrize(
    ("time", "sent"),
    [
        pytest.param(0.05, b"GET /livez HT", id="half a head"),
        pytest.param(0.05, b"", id="nothing"),
        pytest.param(0.05, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /li", id="half a head behind a request"),
        pytest.param(60.0, b"GET / HTTP/1.1\r\nX: " + b"x" * 1_000_000, id="a head without an end"),
    ],
)
def test_a_head_that_does_not_end_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, time: float, sent: bytes
) -> None:
    monkeypatch.setattr(serving, "TIME_TO_ASK", time)
    seen = exchanged(tmp_path, sent)
    assert (b"200 OK" in seen) == (b"\r\n\r\n" in sent)


@pytest.mark.parametrize(
    ("sent", "then"),
    [
        pytest.param(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n", id="an empty line"),
        pytest.param(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", b"x", id="a body"),
    ],
)
def test_what_comes_behind_an_answer_keeps_no_connection_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes, then: bytes
) -> None:
    monkeypatch.setattr(serving, "TIME_TO_ASK", 0.05)
    assert b"HTTP/1.1" in exchanged(tmp_path, sent, then)


def test_a_body_that_nobody_reads_may_come_to_its_end(tmp_path: Path) -> None:
    sent = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    again = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    seen = exchanged(tmp_path, sent, b"x" * 1_000_000 + again)
    assert (b"404 Not Found" in seen, b"200 OK" in seen) == (True, True)


def exchanged(folder: Path, sent: bytes, then: bytes = b"") -> bytes:
    """Send it to a service, and the rest behind its answer; return all that comes until it closes."""
    app = Posthorse(f"sqlite:///{folder}/jobs.db")
    listening = socket.create_server(("127.0.0.1", 0))

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        seen = b""
        try:
            writer.write(sent)
            if then:
                seen = await reader.readuntil(b"\r\n\r\n")
                seen += await reader.readexactly(int(seen.lower().split(b"content-length: ")[1].split()[0]))
                writer.write(then)
            return seen + await reader.read()
        except ConnectionError:
            return seen
        finally:
            writer.close()

    async def served() -> bytes:
        server = uvicorn.Server(serving.configuration(Service(app, is_open=True)))
        running = asyncio.create_task(server._serve([listening]))
        try:
            async with asyncio.timeout(30):
                return await ask()
        finally:
            server.should_exit = True
            await running

    try:
        return asyncio.run(served())
    finally:
        app.close()
