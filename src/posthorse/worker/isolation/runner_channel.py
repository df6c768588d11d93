"""The channel from a child process to its runner: messages arrive whole and in order, whatever code runs meanwhile."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Protocol

from posthorse.worker.isolation.messages import ToRunner, packed


class Channel(Protocol):
    """What takes bytes: a socket."""

    def sendall(self, data: bytes, /) -> None:
        """Send all of these bytes."""
        ...


class RunnerChannel:
    """Sends messages to the runner, from any thread, also while this thread is already sending.

    That happens if a signal handler, or a finalizer that the garbage collector runs, logs. So no sender waits for
    another: the one that sends also sends what the others leave here meanwhile.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._left: deque[bytes] = deque()
        self._sending = threading.Lock()

    def send(self, message: ToRunner) -> None:
        """Send a message, or leave it to the sender that is at work."""
        self._left.append(packed(message))
        try:
            # After the release, look again: a message may have been left just before it.
            while self._left and self._sending.acquire(blocking=False):
                try:
                    while self._left:
                        self._channel.sendall(self._left.popleft())
                finally:
                    self._sending.release()
        except OSError:
            os._exit(1)  # the runner is gone; the reaper ends this process
