"""The server of `posthorse serve`: uvicorn, with a time in which a request must begin, and a stop that waits for no
client.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import stat
from asyncio.events import TimerHandle
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from posthorse.errors import InvalidOption
from posthorse.web.service import Service

TIME_TO_ASK = 10.0
"""Seconds in which a client must have sent the head of its request; then the connection is closed."""

TIME_TO_STOP = 5
"""Seconds in which requests under way may end when the server stops."""

MAX_HEAD = 64 * 1024
"""Bytes of the head of a request, about; a client that sends more loses its connection."""

MAX_CONNECTIONS = 2_000
"""Connections that are open at once; a request on another one gets 503."""

log = logging.getLogger("posthorse.web")


def run_server(service: Service, listening: socket.socket, tell: Callable[[], None]) -> None:
    """Serve until SIGTERM or SIGINT. `tell` is called once requests are accepted."""
    server = _Server(configuration(service), service, tell)
    server.run(sockets=[listening])


def configuration(service: Service) -> uvicorn.Config:
    """Return how uvicorn serves."""
    return uvicorn.Config(
        service,
        http=HeadInTime,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=TIME_TO_STOP,
    )


def listen_at_file(path: str) -> socket.socket:
    """Return a socket that listens at a file which only this user may open. Raises InvalidOption."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_if_left_over(path)
        before = os.umask(0o177)
        try:
            listening.bind(path)
        finally:
            os.umask(before)
        listening.listen(socket.SOMAXCONN)
    except (OSError, ValueError) as error:
        listening.close()
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InvalidOption(
            f"cannot listen at the file {path!r}: {why}; choose another path, or stop the program that listens there"
        ) from error
    return listening


class HeadInTime(HttpToolsProtocol):
    """A connection that is closed if the head of a request does not come in time.

    After an answer uvicorn waits a few seconds for the next request, and whatever comes ends that wait: also an empty
    line, or the rest of a body that no handler reads. From then on the head of the next request has the usual time.
    """

    _deadline: TimerHandle | None = None
    _head = 0
    _skips_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        super().connection_made(transport)
        self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._deadline is None:
            if self._is_idle and self.timeout_keep_alive_task is None:
                self._set_deadline()
                self._skips_body = True
        elif not self._skips_body:  # the head is not complete
            self._head += len(data)
            if self._head > MAX_HEAD:
                self.transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._skips_body = False
        if self._deadline is None:
            self._set_deadline()

    def on_headers_complete(self) -> None:
        self._end_deadline()
        super().on_headers_complete()

    @property
    def _is_idle(self) -> bool:
        """Whether there is no request that is being answered."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first request, whatever uvicorn says
        return cycle is None or cycle.response_complete

    def _set_deadline(self) -> None:
        self._head = 0
        self._deadline = self.loop.call_later(TIME_TO_ASK, self.transport.abort)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Server(uvicorn.Server):
    """A server whose process ends with 0 after a signal, and whose waiting requests end when it stops."""

    def __init__(self, config: uvicorn.Config, service: Service, tell: Callable[[], None]) -> None:
        super().__init__(config)
        self._service = service
        self._tell = tell

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle signals on the loop. The base would raise them again at the end, and the process would die of it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept requests, and say so."""
        await super().startup(sockets)
        self._tell()

    def _stop(self) -> None:
        """Stop; at the second signal without waiting for requests."""
        log.info("the service stops")
        self.force_exit = self.should_exit
        self.should_exit = True
        self._service.stop()


def _remove_if_left_over(path: str) -> None:
    """Remove the file of a server that died. One that a living server listens at stays, and so does any other file."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                Path(path).unlink()
