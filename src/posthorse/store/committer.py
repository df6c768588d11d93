"""Group commit: operations that wait at the same moment share one commit.

Whoever finds the store idle leads: it runs its own operation and all that queued up meanwhile as one
transaction, hands each its answer, and passes the lead to the next who waits. A lone caller thus commits in its
own thread, without a hop; a crowd pays for one sync instead of many. Asynchronous callers have a thread that
leads for them. Nothing is answered before its commit. Knows nothing of SQL.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Generic, TypeVar, cast

from posthorse.errors import StoreError
from posthorse.store.base import Operation

T = TypeVar("T")

Answer = tuple[object, BaseException | None]
"""What an operation came to: its answer, or its error."""

Commit = Callable[[Sequence[Operation[object]]], Sequence[Answer]]
"""Runs operations in one transaction, each failing alone; raises only when nobody's outcome is known."""

LARGEST_GROUP = 64
"""More operations in one commit gain little and let the first of them wait longer."""


class Committer:
    """Runs operations through `commit`, one group at a time, in the order in which they came."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._guard = threading.Lock()
        self._waiting: deque[_Ticket[object]] = deque()
        self._is_led = False
        self._is_closed = False
        self._thread: threading.Thread | None = None
        self._wanted: SimpleQueue[bool] = SimpleQueue()

    def run(self, operation: Operation[T]) -> T:
        """Runs an operation and returns its answer once it is committed."""
        ticket = _Ticket(operation)
        if self._enter(ticket) or ticket.wait_for_turn():
            self._lead()
        return ticket.answer()

    async def arun(self, operation: Operation[T]) -> T:
        """The same for a coroutine; the loop goes on meanwhile."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        ticket = _AsyncTicket(operation, loop, done)
        if self._enter(ticket):
            self._wanted.put(True)
        await done
        return ticket.answer()

    def close(self) -> None:
        """Ends the thread that leads for coroutines, after what it was given."""
        with self._guard:
            self._is_closed = True
        if self._thread is not None:
            self._wanted.put(False)
            self._thread.join()

    def _enter(self, ticket: _Ticket[T]) -> bool:
        """Queues a ticket; true when its owner is to lead."""
        with self._guard:
            if self._is_closed:
                raise StoreError("the store was closed; open the application anew to use it again")
            if isinstance(ticket, _AsyncTicket) and self._thread is None:
                self._thread = threading.Thread(target=self._lead_for_coroutines, name="posthorse-store", daemon=True)
                self._thread.start()
            self._waiting.append(cast("_Ticket[object]", ticket))
            leads = not self._is_led
            self._is_led = True
            return leads

    def _lead(self) -> None:
        """Commits one group, then passes the lead on."""
        with self._guard:
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), LARGEST_GROUP))]
        try:
            answers = self._commit([ticket.operation for ticket in group])
        except BaseException as error:
            answers = [(None, error)] * len(group)
        with self._guard:
            heir = self._waiting[0] if self._waiting else None
            self._is_led = heir is not None
        # The heir first: it works while the others wake up.
        if isinstance(heir, _AsyncTicket):
            self._wanted.put(True)
        elif heir is not None:
            heir.give_turn()
        for ticket, answer in zip(group, answers, strict=True):
            ticket.settle(answer)

    def _lead_for_coroutines(self) -> None:
        while self._wanted.get():
            self._lead()


class _Ticket(Generic[T]):
    """A caller in the queue: a thread that sleeps on a lock until it has its answer or the lead."""

    def __init__(self, operation: Operation[T]) -> None:
        self.operation = operation
        self._answer: Answer | None = None
        self._bell = threading.Lock()
        self._bell.acquire()

    def wait_for_turn(self) -> bool:
        """Sleeps; true when woken to lead."""
        self._bell.acquire()
        return self._answer is None

    def give_turn(self) -> None:
        self._bell.release()

    def settle(self, answer: Answer) -> None:
        self._answer = answer
        self._bell.release()

    def answer(self) -> T:
        assert self._answer is not None
        value, error = self._answer
        if error is not None:
            raise error
        return cast("T", value)


class _AsyncTicket(_Ticket[T]):
    """A coroutine in the queue; its loop is told."""

    def __init__(self, operation: Operation[T], loop: asyncio.AbstractEventLoop, done: asyncio.Future[None]) -> None:
        self.operation = operation
        self._answer = None
        self._loop = loop
        self._done = done

    def settle(self, answer: Answer) -> None:
        self._answer = answer
        try:
            self._loop.call_soon_threadsafe(self._ring)
        except RuntimeError:
            pass  # the loop was closed: nobody waits any more

    def _ring(self) -> None:
        if not self._done.done():
            self._done.set_result(None)
