"""The channel from a child process: no message is torn or lost, whatever code runs while one is sent."""

from __future__ import annotations

import threading
from collections.abc import Callable

from posthorse.worker.base.log_capture import JobInContext
from posthorse.worker.isolation.child_logs import ChildLogs
from posthorse.worker.isolation.messages import Logged, Ready, packed
from posthorse.worker.isolation.runner_channel import RunnerChannel

JOB: JobInContext = ("a", "mail", 1, 1)


class HalfSent:
    """A channel that runs other code while a message is half sent, as signal handlers and finalizers do."""

    def __init__(self) -> None:
        self.received = b""
        self.meanwhile: list[Callable[[], None]] = []

    def sendall(self, data: bytes, /) -> None:
        """Take the data in two parts."""
        middle = len(data) // 2
        self.received += data[:middle]
        if self.meanwhile:
            self.meanwhile.pop()()
        self.received += data[middle:]


def in_time(run: Callable[[], object]) -> bool:
    """Return whether this ends; a daemon thread runs it, so that a deadlock fails the test alone."""
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    return not thread.is_alive()


def test_what_is_logged_while_a_message_is_sent_follows_it() -> None:
    half_sent = HalfSent()
    channel = RunnerChannel(half_sent)
    logs = ChildLogs(channel.send)
    logs.begin("a", 1, 0)
    half_sent.meanwhile.append(lambda: logs.take(JOB, b"{}"))
    assert in_time(lambda: channel.send(Ready(1)))
    assert half_sent.received == packed(Ready(1)) + packed(Logged("a", 1, [b"{}"]))


def test_what_another_thread_sends_meanwhile_waits_for_no_lock() -> None:
    """Else two threads could wait for each other: one logs and wants to send, the other sends and logs."""
    half_sent = HalfSent()
    channel = RunnerChannel(half_sent)
    logs = ChildLogs(channel.send)
    logs.begin("a", 1, 0)

    def both() -> None:
        assert in_time(lambda: logs.take(JOB, b"1"))
        logs.take(JOB, b"2")

    half_sent.meanwhile.append(both)
    assert in_time(lambda: channel.send(Ready(1)))
    expected = packed(Ready(1)) + packed(Logged("a", 1, [b"1"])) + packed(Logged("a", 1, [b"2"]))
    assert half_sent.received == expected


def test_messages_of_many_threads_arrive_whole() -> None:
    half_sent = HalfSent()
    channel = RunnerChannel(half_sent)

    def send(number: int) -> None:
        for _ in range(500):
            channel.send(Ready(number))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [half_sent.received.count(packed(Ready(number))) for number in range(4)] == [500] * 4
