"""The pages of a worker that listens: its metrics, and its probes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from posthorse.errors import InvalidOption
from posthorse.processes import http_server
from posthorse.processes import probing as probing_module
from posthorse.processes.http_server import HttpServer, Reply, checked_address, listening_socket
from posthorse.processes.probing import Probing
from posthorse.rules.health import Health
from posthorse.store.base import Operation
from posthorse.store.store import Store
from posthorse.telemetry.store_samples import StoreSamples
from tests.project import Project, Worker
from tests.waiting import until, until_state

HEAD = """
import os

import posthorse as ph
from posthorse.rules.tuning import Tuning

app = ph.Posthorse(grace="5s", release="7", tuning=Tuning(tallies_interval=0.05, depths_interval=0.05))
"""

SHOP = """
from pathlib import Path

@app.job
def plain():
    pass

@app.job(max_attempts=1)
def bad():
    raise ValueError("bad")

@app.job
def deadly():
    if not Path("killed").exists():
        Path("killed").touch()
        os.kill(os.getpid(), 9)
"""


def read(url: str) -> tuple[int, str]:
    """Return the status and text of a page."""
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def scraped(url: str) -> dict[str, float]:
    """Return the values of the page of metrics, by names with the values of their labels."""
    status, text = read(f"{url}/metrics")
    assert status == HTTPStatus.OK
    return {
        ",".join((sample.name, *(sample.labels[label] for label in sorted(sample.labels)))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def address_of(worker: Worker) -> str:
    """Return the URL that a worker said it listens at."""
    until(lambda: "listening at " in worker.log)
    return worker.log.partition("listening at ")[2].split()[0]


@contextmanager
def listening(project: Project, *words: str) -> Iterator[tuple[Worker, str]]:
    """Run a worker that listens, and is ready; yield its URL as well."""
    with project.working("--listen", "127.0.0.1:0", *words) as worker:
        url = address_of(worker)
        until(lambda: read(f"{url}/readyz")[0] == HTTPStatus.OK)
        yield worker, url


# ── a worker ─────────────────────────────────────────────────────────────────────────────────────────


def test_metrics_add_up_what_all_runners_of_a_worker_do(project: Project) -> None:
    project.write(SHOP, head=HEAD)
    with listening(project, "--processes", "2") as (_, url):
        jobs = [project.job("plain") for _ in range(40)]
        for job in jobs:
            until_state(job, "completed")
        until_state(project.job("bad"), "failed")
        done = "jobs_finished_total,plain,default,completed"
        until(lambda: scraped(url).get(done) == 40)
        until(lambda: scraped(url).get("jobs_finished_total,bad,default,failed") == 1)
        until(lambda: scraped(url).get("jobs_queue_depth,default,failed") == 1)
        found = scraped(url)
    assert found["jobs_started_total,plain,default"] == 40
    assert found["jobs_run_seconds_count,plain,default"] == found["jobs_wait_seconds_count,plain,default"] == 40
    assert found["jobs_slots"] == 20
    assert found["jobs_runners"] == 2
    assert found["jobs_workers"] == found["jobs_store_up"] == 1
    assert any(name.startswith("jobs_build_info,7,") for name in found)


def test_a_runner_that_dies_is_counted_with_the_jobs_that_it_lost(project: Project) -> None:
    project.write(SHOP, head=HEAD)
    with listening(project) as (_, url):
        until_state(project.job("deadly"), "completed")
        until(lambda: scraped(url).get("jobs_runner_deaths_total") == 1)
        until(lambda: scraped(url).get("jobs_lost_leases_total,deadly,default") == 1)


def test_a_worker_that_stops_is_alive_and_not_ready(project: Project) -> None:
    project.write(
        """
        import time

        @app.job
        def long():
            while not os.path.exists("go"):
                time.sleep(0.01)
        """,
        head=HEAD,
    )
    with listening(project) as (worker, url):
        assert read(f"{url}/livez") == (HTTPStatus.OK, "live yes\n")
        until_state(project.job("long"), "processing")
        worker.process.send_signal(signal.SIGTERM)
        until(lambda: read(f"{url}/readyz")[0] == HTTPStatus.SERVICE_UNAVAILABLE)
        assert read(f"{url}/readyz")[1] == "ready no\nit is stopping, and takes no more jobs\n"
        assert read(f"{url}/livez")[0] == HTTPStatus.OK
        (project.folder / "go").touch()
        assert worker.process.wait(60) == 0


def test_pages_that_there_are_not_and_methods_that_do_not_read(project: Project) -> None:
    project.write("", head=HEAD)
    with listening(project) as (_, url):
        assert read(f"{url}/") == (HTTPStatus.NOT_FOUND, "there is no such page; there are /metrics, /livez, /readyz\n")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(f"{url}/livez", method="DELETE"), timeout=30)
        caught.value.close()
        assert caught.value.code == HTTPStatus.METHOD_NOT_ALLOWED


def test_without_its_extra_the_page_of_metrics_names_it_and_probes_work(project: Project) -> None:
    project.write("", head=HEAD)
    prelude = "import sys; sys.modules['prometheus_client'] = None"
    with project.working("--listen", "127.0.0.1:0", prelude=prelude) as worker:
        url = address_of(worker)
        status, text = read(f"{url}/metrics")
        assert (status, text) == (
            HTTPStatus.NOT_IMPLEMENTED,
            "metrics need another package: pip install 'posthorse[prometheus]'\n",
        )
        assert read(f"{url}/livez")[0] in (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE)
        assert "posthorse[prometheus]" in worker.log


def test_an_address_that_is_taken_ends_the_worker_and_says_why(project: Project) -> None:
    project.write("", head=HEAD)
    with closing(listening_socket("127.0.0.1:0")) as other:
        port = other.getsockname()[1]
        with project.working("--listen", str(port)) as worker:
            assert worker.process.wait(60) == 2
            assert f"cannot listen on '{port}': Address already in use; choose" in worker.log


# ── probes ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_lives_while_its_store_is_away() -> None:
    async def asked() -> tuple[Health, Health]:
        with closing(Store("postgresql://ada:canary@127.0.0.1:1/none")) as store:
            probing = Probing(store, "here:1", lambda: {1}, lambda: False)
            first = known = await probing.health()
            while "gave no answer" in known.problems[0]:
                known = await probing.health()
        return first, known

    first, known = asyncio.run(asked())
    assert (first.live, first.ready) == (known.live, known.ready) == (True, False)
    assert "canary" not in str(known)


def test_why_the_store_cannot_be_read_is_in_the_log_once_and_on_no_page(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(probing_module, "LOOK_INTERVAL", 0.0)

    async def asked() -> list[str]:
        with closing(Store("postgresql://ada:canary@127.0.0.1:1/none")) as store:
            probing = Probing(store, "here:1", lambda: {1}, lambda: False)
            found: list[str] = []
            while len(found) < 3:
                [problem] = (await probing.health()).problems
                if "gave no answer" not in problem:
                    found.append(problem)
        return found

    assert asyncio.run(asked()) == ["the store cannot be read; see the log of the worker"] * 3
    [record] = [one for one in caplog.records if one.name == "posthorse.worker"]
    assert "127.0.0.1" in record.getMessage()
    assert "canary" not in caplog.text


class DriverError(Exception):
    """What a driver of a database raises, and no part of Posthorse."""


@contextmanager
def store_that_raises(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Store, list[Exception]]]:
    """Yield a store whose looks raise the first of these errors, and work while there are none."""
    errors: list[Exception] = []
    with closing(Store(f"sqlite:///{path}/jobs.db")) as store:
        store.migrate()
        look = store.alook

        async def alook(operation: Operation[object], *, deadline: float | None = None) -> object:
            if errors:
                raise errors[0]
            return await look(operation, deadline=deadline)

        monkeypatch.setattr(store, "alook", alook)
        yield store, errors


def test_whatever_the_driver_raises_is_an_answer_and_the_next_probe_looks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(probing_module, "LOOK_INTERVAL", 0.0)

    async def asked(store: Store, errors: list[Exception]) -> list[Sequence[str]]:
        probing = Probing(store, "here:1", lambda: {1}, lambda: False)
        found: list[Sequence[str]] = []
        for error in (None, DriverError("canary"), DriverError("canary"), MemoryError("canary"), None):
            errors[:] = [] if error is None else [error]
            health = await probing.health()
            assert not health.ready
            found.append(health.problems)
        return found

    with store_that_raises(tmp_path, monkeypatch) as (store, errors):
        found = asyncio.run(asked(store, errors))
    begins = ["none of its runners is registered: it begins, or has ended"]
    assert found == [begins, *[["the store cannot be read; see the log of the worker"]] * 3, begins]
    logged = [one for one in caplog.records if one.name == "posthorse.worker"]
    assert [one.exc_info and one.exc_info[0] for one in logged] == [DriverError, MemoryError]


def test_a_sample_that_failed_is_not_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def taken(store: Store, errors: list[Exception]) -> None:
        samples = StoreSamples(store, lease=30)
        assert await samples.newest() is not None
        errors.append(DriverError("odd"))
        samples._due_at = 0.0  # pyright: ignore[reportPrivateUsage]
        assert await samples.newest() is None

    with store_that_raises(tmp_path, monkeypatch) as (store, errors):
        asyncio.run(taken(store, errors))
    assert "cannot sample the store for metrics" in caplog.text


# ── the server ───────────────────────────────────────────────────────────────────────────────────────


async def _hello(headers: Mapping[str, str]) -> Reply:
    return Reply(HTTPStatus.OK, headers.get("x-name", "none").encode())


async def _broken(_: Mapping[str, str]) -> Reply:
    raise ValueError("a defect of the page")


async def sent(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await reader.read()
    except ConnectionResetError:  # closed before the server had read it all
        return b""
    finally:
        writer.close()


def served(*requests: bytes) -> list[bytes]:
    """Return the answers of a server to requests, each on a connection of its own and all at once."""

    async def run() -> list[bytes]:
        listening = listening_socket("0")
        server = HttpServer(listening, {"/hello": _hello, "/broken": _broken})
        await server.start()
        answers = await asyncio.gather(*(sent(listening.getsockname()[1], request) for request in requests))
        await server.close()
        return answers

    return asyncio.run(run())


def test_a_page_gets_the_headers_of_its_request() -> None:
    [answer] = served(b"GET /hello?a=b HTTP/1.1\r\nHost: here\r\nX-Name:  ada \r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nada")


def test_the_answer_to_head_has_no_body() -> None:
    [answer] = served(b"HEAD /hello HTTP/1.1\r\n\r\n")
    assert b"Content-Length: 4\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_page_that_fails_does_not_show_its_error(caplog: pytest.LogCaptureFixture) -> None:
    [answer] = served(b"GET /broken HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"defect" not in answer
    assert "a defect of the page" in caplog.text


@pytest.mark.parametrize("request_", [b"hello\r\n\r\n", b"GET /hello\r\n\r\n", b"\x16\x03\x01\x00\r\n\r\n"])
def test_what_is_not_http_is_refused(request_: bytes) -> None:
    [answer] = served(request_)
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_a_client_that_sends_too_much_or_too_slowly_loses_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "TIME_TO_ASK", 0.05)
    slow, long, other = served(b"GET /hello HT", b"GET /" + b"x" * 100_000, b"GET /hello HTTP/1.1\r\n\r\n")
    assert (slow, long) == (b"", b"")
    assert other.endswith(b"none")


def test_connections_beyond_the_most_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 0)
    assert served(b"GET /hello HTTP/1.1\r\n\r\n") == [b""]


@pytest.mark.parametrize("size", [48_000, 8_000_000], ids=["fits-the-buffer", "does-not-fit"])
def test_a_client_that_does_not_read_is_counted_and_loses_its_connection(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(http_server, "TIME_TO_READ", 1.0)
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 1)
    begun = asyncio.Event()

    async def large(_: Mapping[str, str]) -> Reply:
        begun.set()
        return Reply(HTTPStatus.OK, b"x" * size)

    async def run() -> tuple[bytes, bytes, int]:
        listening = listening_socket("0")
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        server = HttpServer(listening, {"/large": large, "/hello": _hello})
        await server.start()
        port = listening.getsockname()[1]
        with closing(socket.socket()) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.sendall(b"GET /large HTTP/1.1\r\n\r\n")
            await begun.wait()
            refused = answer = await sent(port, b"GET /hello HTTP/1.1\r\n\r\n")
            while not answer:
                answer = await sent(port, b"GET /hello HTTP/1.1\r\n\r\n")
            client.setblocking(False)
            taken = 0
            with suppress(ConnectionResetError):
                while part := await asyncio.get_running_loop().sock_recv(client, 65_536):
                    taken += len(part)
        await server.close()
        return refused, answer, taken

    refused, answer, taken = asyncio.run(run())
    assert refused == b""
    assert answer.endswith(b"none")
    assert taken < size


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9090", ("127.0.0.1", 9090)),
        (":9090", ("127.0.0.1", 9090)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:9090", ("::1", 9090)),
        ("shop.local:1", ("shop.local", 1)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert checked_address(text) == address


@pytest.mark.parametrize("text", ["", "here", "here:", "127.0.0.1:http", "127.0.0.1:65536", "1:-1", "²"])
def test_what_is_not_an_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidOption, match="write HOST:PORT"):
        checked_address(text)


@pytest.mark.skipif(not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6"), reason="no IPv6 here")
def test_ipv6() -> None:
    try:
        with closing(listening_socket("[::1]:0")) as listening:
            assert HttpServer(listening, {}).address.startswith("http://[::1]:")
    except InvalidOption:
        pytest.skip("no IPv6 here")
