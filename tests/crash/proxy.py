"""A proxy in front of PostgreSQL that loses a reply: the server does what it was asked, and the client never learns it.

    with lossy_proxy(port, loses=lambda sent: b"COMMIT" in sent[-1]) as proxy: …

`loses` sees all that one client has sent, piece by piece. The first time it returns True, the piece is passed on, its
reply is thrown away, and the connection is cut. Later connections are not disturbed.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

Loses = Callable[[Sequence[bytes]], bool]


class LossyProxy:
    """Where the proxy listens, and whether it has lost its reply."""

    def __init__(self, server: int, loses: Loses) -> None:
        self.has_lost = threading.Event()
        self._server = server
        self._loses = loses
        self._losing = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(("127.0.0.1", self._server)) as server:
            is_cut = threading.Event()
            threading.Thread(target=self._answer, args=(server, client, is_cut), daemon=True).start()
            sent: list[bytes] = []
            while piece := client.recv(1 << 20):
                sent.append(piece)
                if self._is_to_be_lost(sent):
                    is_cut.set()
                server.sendall(piece)
            server.shutdown(socket.SHUT_WR)

    def _answer(self, server: socket.socket, client: socket.socket, is_cut: threading.Event) -> None:
        with suppress(OSError):
            while piece := server.recv(1 << 20):
                if is_cut.is_set():
                    break  # the reply says that it was done
                client.sendall(piece)
            client.shutdown(socket.SHUT_RDWR)

    def _is_to_be_lost(self, sent: Sequence[bytes]) -> bool:
        with self._losing:
            if self.has_lost.is_set() or not self._loses(sent):
                return False
            self.has_lost.set()
            return True


@contextmanager
def lossy_proxy(server: int, *, loses: Loses) -> Iterator[LossyProxy]:
    """Start a proxy in front of a server on loopback."""
    proxy = LossyProxy(server, loses)
    try:
        yield proxy
    finally:
        proxy.close()
