"""The control pipe between a supervisor and a runner: a socket that carries small messages, and whose end is death.

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
    """One end."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._pending = b""

    @classmethod
    def pair(cls) -> tuple[ControlPipe, socket.socket]:
        """The supervisor's end, and the socket to be inherited by the runner."""
        ours, theirs = socket_pair()
        ours.setblocking(False)  # a runner that does not listen must not hold up its supervisor
        return cls(ours), theirs

    def fileno(self) -> int:
        """For waiting until there is something to read."""
        return self._socket.fileno()

    def send(self, **message: object) -> bool:
        """Sends a message; false when the other side is gone."""
        try:
            self._socket.sendall(_encode(message) + b"\n")
        except OSError:
            return False
        return True

    def messages(self) -> Iterator[Message]:
        """Waits for messages until the other side is gone."""
        while True:
            received = self.receive()
            if received is None:
                return
            yield from received

    def receive(self) -> list[Message] | None:
        """The messages of one read; None when the other side is gone."""
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
        """Whether something came that nobody read yet."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def close(self) -> None:
        """Lets go."""
        self._socket.close()
