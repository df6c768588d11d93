"""A small HTTP server on the loop of a supervisor: a few pages that are read with GET, one request a connection.

It knows nothing of what is on the pages. A client that is slow, or sends too much, loses its connection, so that probes
and scrapes can neither hold up the supervisor nor pile up in it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

from posthorse.errors import InvalidOption
from posthorse.rules.values.type_mismatch import short

MAX_REQUEST = 16_384
"""Bytes of a request line with its headers."""

MAX_CONNECTIONS = 32
"""Connections that are open at once, also those whose client does not read; others are closed."""

TIME_TO_ASK, TIME_TO_READ = 5.0, 10.0
"""Seconds in which a client must send its request, and take the answer; then the connection is dropped."""

TEXT = "text/plain; charset=utf-8"
LOOPBACK = "127.0.0.1"

log = logging.getLogger("posthorse.worker")


class Reply(NamedTuple):
    """The answer to one request."""

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT


MakeReply = Callable[[Mapping[str, str]], Awaitable[Reply]]
"""Makes the answer from the headers of the request; their names are in lower case."""


def checked_address(text: str) -> tuple[str, int]:
    """Return the host and port of `HOST:PORT`, or of `PORT` alone, which is for this machine. Raises InvalidOption."""
    host, _, number = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or LOOPBACK
    if number.isascii() and number.isdecimal() and int(number) <= 65_535:
        return host, int(number)
    raise InvalidOption(f"--listen is {short(text)}; write HOST:PORT, such as 127.0.0.1:9090, or a port alone")


def listening_socket(text: str) -> socket.socket:
    """Return a socket that listens at `HOST:PORT`. Raises InvalidOption if that cannot be had."""
    host, port = checked_address(text)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = found[0]
        return socket.create_server(address, family=family)
    except OSError as error:
        number = error.errno or 0  # asyncio and sockets put the address into their words once more
        why = os.strerror(number) if number > 0 else error.strerror or error
        raise InvalidOption(
            f"cannot listen on {short(text)}: {why}; choose another address, or stop the program that listens there"
        ) from error


class HttpServer:
    """The server, from `start` to `close`."""

    def __init__(self, listening: socket.socket, pages: Mapping[str, MakeReply]) -> None:
        self._socket = listening
        self._pages = pages
        self._server: asyncio.Server | None = None
        self._open = 0

    @property
    def address(self) -> str:
        """Return the URL at which it listens."""
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self) -> None:
        """Begin to answer."""
        self._server = await asyncio.start_server(self._serve, sock=self._socket, limit=MAX_REQUEST)

    async def close(self) -> None:
        """Stop listening; answers under way go out as far as the loop still runs."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MAX_CONNECTIONS:
                await self._answer(reader, writer)
            writer.close()  # what the client did not take yet still goes out
            async with asyncio.timeout(TIME_TO_READ):
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            log.debug("a request for a page of the worker failed: %r", error)
        finally:
            writer.transport.abort()  # does nothing to a connection that is closed
            self._open -= 1

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(TIME_TO_ASK):
            asked = await reader.readuntil(b"\r\n\r\n")
        method, reply = await self._reply(asked.decode("latin-1"))
        head = (
            f"HTTP/1.1 {reply.status.value} {reply.status.phrase}\r\n"
            f"Content-Type: {reply.content_type}\r\n"
            f"Content-Length: {len(reply.body)}\r\n"
            "Cache-Control: no-store\r\n"
            "X-Content-Type-Options: nosniff\r\n"
            "Connection: close\r\n\r\n"
        )
        writer.write(head.encode("latin-1") + (b"" if method == "HEAD" else reply.body))
        async with asyncio.timeout(TIME_TO_READ):
            await writer.drain()

    async def _reply(self, asked: str) -> tuple[str, Reply]:
        line, *lines = asked.split("\r\n")
        words = line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return "", _told(HTTPStatus.BAD_REQUEST, "this is not a request of HTTP/1.1")
        method, target = words[0], words[1].partition("?")[0]
        page = self._pages.get(target)
        if page is None:
            return method, _told(HTTPStatus.NOT_FOUND, f"there is no such page; there are {', '.join(self._pages)}")
        if method not in ("GET", "HEAD"):
            return method, _told(HTTPStatus.METHOD_NOT_ALLOWED, "pages are read with GET")
        headers = {name.strip().lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
        try:
            return method, await page(headers)
        except Exception:
            log.exception("the page %s of this worker failed", target)
            return method, _told(HTTPStatus.INTERNAL_SERVER_ERROR, "the page failed; the log of the worker says why")


def _told(status: HTTPStatus, sentence: str) -> Reply:
    return Reply(status, f"{sentence}\n".encode())
