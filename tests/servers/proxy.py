"""A TCP proxy in front of a server that breaks connections: before a message goes out, or before its reply."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Literal, Self

Moment = Literal["before", "after"]


class FaultProxy:
    """A proxy that forwards bytes both ways. `cut` breaks the connection that next sends a given text.

    "before" drops the message: the server never sees it. "after" lets the server reply, and drops the reply, so the
    sender cannot know whether it was done.
    """

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._guard = threading.Lock()
        self._cut: tuple[bytes, Moment] | None = None
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.cuts = 0

    @property
    def port(self) -> int:
        """Where clients connect to."""
        port: int = self._listener.getsockname()[1]
        return port

    def cut(self, text: bytes, moment: Moment) -> None:
        """Break the next connection that sends `text`."""
        with self._guard:
            self._cut = (text, moment)

    def stop_listening(self) -> None:
        """Refuse connections from now on."""
        _end(self._listener)

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_listening()
        for connection in self._open:
            _end(connection)
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._open += [client, server]
            is_muted = threading.Event()
            self._start(self._forward, client, server, is_muted)
            self._start(self._reply, server, client, is_muted)

    def _forward(self, client: socket.socket, server: socket.socket, is_muted: threading.Event) -> None:
        with suppress(OSError):
            while message := client.recv(65536):
                moment = self._taken(message)
                if moment == "before":
                    break
                if moment == "after":
                    is_muted.set()
                server.sendall(message)
        if not is_muted.is_set():
            _end(client)
            _end(server)

    def _reply(self, server: socket.socket, client: socket.socket, is_muted: threading.Event) -> None:
        with suppress(OSError):
            while message := server.recv(65536):
                if is_muted.is_set():
                    break  # it was done; the client will not learn it
                client.sendall(message)
        _end(client)
        _end(server)

    def _taken(self, message: bytes) -> Moment | None:
        with self._guard:
            if self._cut is None or self._cut[0] not in message:
                return None
            moment = self._cut[1]
            self._cut = None
            self.cuts += 1
            return moment


@contextmanager
def fault_proxy(port: int) -> Iterator[FaultProxy]:
    """Run a proxy in front of the server on `port`."""
    with FaultProxy(port) as proxy:
        yield proxy


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
