"""Hovers: what an editor shows over an option, its type and its line, according to pyright's language server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from posthorse.rules.options.table import OPTIONS

PROGRAM = """
import posthorse as ph

app = ph.Posthorse("sqlite:///x.db", lease="10s")


@app.job(queue="mail", max_attempts=5)
async def welcome(user_id: int) -> str:
    return ""


welcome.using(delay="10m").enqueue(7)
app.queue("mail", weight=3).set(paused=True)
"""
SHOWN = ["lease", "queue", "max_attempts", "delay", "weight", "paused"]


class Server:
    """The other end of a language server: it answers requests one after the other."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._requests = 0

    def ask(self, method: str, params: object) -> object:
        """Send a request and wait for its result; requests of the server meanwhile get a plain answer."""
        self._requests += 1
        self.tell(method, params, id=self._requests)
        while True:
            message = self._receive()
            if "method" not in message:
                if message.get("id") == self._requests:
                    return message.get("result")
            elif "id" in message:
                asked = cast("Mapping[str, list[object]]", message.get("params") or {})
                self._send(
                    {"id": message["id"], "result": [{"pythonPath": sys.executable}] * len(asked.get("items", []))}
                )

    def tell(self, method: str, params: object, **more: object) -> None:
        """Send a notification."""
        self._send({"method": method, "params": params, **more})

    def _send(self, message: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self._process.stdin.flush()

    def _receive(self) -> dict[str, object]:
        assert self._process.stdout is not None
        length = 0
        while line := self._process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        assert length, "the language server ended"
        return cast("dict[str, object]", json.loads(self._process.stdout.read(length)))


@contextmanager
def language_server() -> Iterator[Server]:
    command = [str(Path(sys.executable).with_name("pyright-langserver")), "--stdio"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield Server(process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it is a wrapper of the server
        process.communicate()


@pytest.mark.timeout(300)
def test_an_editor_shows_the_line_of_an_option(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM, encoding="utf-8")
    document = {"uri": path.as_uri()}
    with language_server() as server:
        folder = {"uri": tmp_path.as_uri(), "name": "program"}
        capabilities = {
            "workspace": {"configuration": True},
            "textDocument": {"hover": {"contentFormat": ["plaintext"]}},
        }
        server.ask(
            "initialize",
            {"processId": None, "rootUri": None, "workspaceFolders": [folder], "capabilities": capabilities},
        )
        server.tell("initialized", {})
        server.tell(
            "textDocument/didOpen",
            {"textDocument": {**document, "languageId": "python", "version": 1, "text": PROGRAM}},
        )
        for name in SHOWN:
            [(number, line)] = [
                (number, line) for number, line in enumerate(PROGRAM.splitlines()) if f"{name}=" in line
            ]
            position = {"line": number, "character": line.index(f"{name}=")}
            told = json.dumps(server.ask("textDocument/hover", {"textDocument": document, "position": position}))
            [option] = [option for option in OPTIONS if option.name == name]
            assert json.dumps(option.sentence)[1:-1] in told.replace("\\n", " "), name
