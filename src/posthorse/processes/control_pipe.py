"""The control pipe between a supervisor and a runner: a socket for small messages. It ends when the other side dies.

Messages are JSON, one a line. Both sides know at once when the other is gone.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import msgspec

from posthorse.worker.base.launch import socket_pair

Message = dict[str, object]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Message).decode


class ControlPipe:
    """One end of the pipe."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._pending = b""

    @classmethod
    def pair(cls) -> tuple[ControlPipe, socket.socket]:
        """Return the supervisor's end, and the socket that the runner inherits."""
        ours, theirs = socket_pair()
        ours.setblocking(False)  # a runner that does not listen must not block its supervisor
        return cls(ours), theirs

    def fileno(self) -> int:
        """Return the descriptor, to wait until there is something to read."""
        return self._socket.fileno()

    def send(self, **message: object) -> bool:
        """Send a message; return False if the other side is gone."""
        try:
            self._socket.sendall(_encode(message) + b"\n")
        except OSError:
            return False
        return True

    def messages(self) -> Iterator[Message]:
        """Yield messages until the other side is gone."""
        while True:
            received = self.receive()
            if received is None:
                return
            yield from received

    def receive(self) -> list[Message] | None:
        """Return the messages of one read; None if the other side is gone."""
        try:
            read = self._socket.recv(65_536)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not read:
            return None
        *lines, self._pending = (self._pending + read).split(b"\n")
        return [_decode(line) for line in lines]

    def has_mail(self) -> bool:
        """Return whether a message waits to be read."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
