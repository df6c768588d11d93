"""Group commit: operations that wait at the same moment share one commit.

The first caller that finds the store idle leads: it runs its own operation and all queued ones as one transaction,
hands out their results, and passes the lead to the next waiting caller. So a lone caller commits in its own thread, and
many callers pay for one sync. Asynchronous callers have a thread that leads for them. No caller gets a result before
its commit. This module knows no SQL.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from queue import SimpleQueue
from typing import ClassVar, Generic, TypeVar

import msgspec

from posthorse.errors import OutcomeUnknown, StoreError
from posthorse.store.base import Operation, QuerySteps, TryAgain
from posthorse.store.reentry import alone
from posthorse.store.thread_on_demand import ThreadOnDemand

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Answer = tuple[object, BaseException | None]
"""The result or the error of an operation."""

Commit = Callable[[Sequence[Operation[object]]], Sequence[Answer]]
"""Runs operations in one transaction, each failing alone; raises only if the outcome of all is unknown."""

MAX_GROUP = 64
"""Larger groups gain little, and make the first caller wait longer."""


class Committer:
    """Run operations through `commit`, one group at a time, in the order in which they came."""

    def __init__(self, commit: Commit) -> None:
        self._commit = commit
        self._guard = threading.Lock()
        self._waiting: deque[_Ticket[object]] = deque()
        self._leader: _Ticket[object] | None = None
        self._is_closed = False
        self._thread = ThreadOnDemand(self._guard, "posthorse-store")
        self._wanted: SimpleQueue[bool] = SimpleQueue()

    def run(self, operation: Operation[T]) -> T:
        """Run an operation; return its result once it is committed."""
        ticket = _Ticket(operation)
        try:
            is_turn = self._enter(ticket) or ticket.wait_for_turn()
            while is_turn:
                self._lead(ticket)
                is_turn = not ticket.is_settled and ticket.wait_for_turn()
        except BaseException:  # an interruption: errors of operations come as results
            self._leave(ticket)
            raise
        return ticket.answer()

    async def arun(self, operation: Operation[T]) -> T:
        """Run an operation without blocking the loop. If its task is cancelled, it may still be committed."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        ticket = _AsyncTicket(operation, loop=loop, done=done)
        if alone(self._enter, ticket):
            self._wanted.put(True)
        await done
        return ticket.answer()

    def give_up_on(self, error: Exception) -> None:
        """Fail the callers in the queue whose deadline has passed, because the store is away. Nothing of theirs was
        sent.
        """
        with self._guard:
            late = [ticket for ticket in self._waiting if ticket is not self._leader and ticket.is_late]
            for ticket in late:
                self._waiting.remove(ticket)
                ticket.outcome = None, error
        for ticket in late:
            ticket.ring()

    def close(self) -> None:
        """Wait for earlier operations, and end the thread that leads for coroutines."""
        last = _Ticket(Operation(_nothing, is_single=True))
        with self._guard:
            self._is_closed = True
            thread = self._thread.forget()
            is_busy = self._leader is not None
            if is_busy:
                last.hang_bell()
                self._waiting.append(last)
        if is_busy and last.wait_for_turn():
            self._lead(last)
        if thread is not None:
            self._wanted.put(False)
            thread.join()

    def _enter(self, ticket: _Ticket[T]) -> bool:
        """Queue a ticket unless its thread leads at once; return whether its caller must lead."""
        with self._guard:
            if self._is_closed:
                raise StoreError("the store was closed; open the application again to use it")
            if ticket.is_async and not self._thread.is_there:
                self._thread.start(self._lead_for_coroutines)
            if self._leader is None:
                self._leader = ticket
                return True
            ticket.hang_bell()
            self._waiting.append(ticket)
            return False

    def _lead(self, leader: _Ticket[T]) -> None:
        """Commit one group, then pass the lead on."""
        if self._waiting:
            self._take_along(leader)
        group: Sequence[_Ticket[object]] = (leader, *leader.group)
        operations: list[Operation[object]] = [leader.operation]
        if leader.group:
            operations += [ticket.operation for ticket in leader.group]
        try:
            answers = self._commit(operations)
        except Exception as error:
            answers = [(None, error)] * len(group)
        again: list[_Ticket[object]] = []
        with self._guard:
            for place, ticket in enumerate(group):
                _, failed = outcome = answers[place]
                if failed is not None and isinstance(failed, TryAgain):
                    again.append(ticket.again(failed))
                else:
                    ticket.outcome = outcome
            if again:
                self._waiting.extendleft(reversed(again))
            next_leader = self._pass_on()
        if next_leader is not None:
            self._wake(next_leader)  # first, so that it works while the others wake up
        for ticket in leader.group:
            if ticket.is_settled:
                ticket.ring()
        leader.group = ()

    def _take_along(self, leader: _Ticket[T]) -> None:
        """Remove the group from the queue, and the leader, if it waited there."""
        with self._guard:
            # Noted before they leave the queue, because an interruption may come between the two.
            first = list(islice(self._waiting, MAX_GROUP))
            leader.group = [ticket for ticket in first if ticket is not leader]
            for _ in first:
                self._waiting.popleft()

    def _leave(self, ticket: _Ticket[T]) -> None:
        """Leave without a result after an interruption, without making other callers wait for ever."""
        own: _Ticket[object] = ticket
        with self._guard:
            with suppress(ValueError):
                self._waiting.remove(own)
            if self._leader is own:
                again: list[_Ticket[object]] = []
                for other in own.group:
                    if other.is_settled or other in self._waiting:
                        continue
                    if other.operation.is_repeatable:
                        again.append(other)
                    else:
                        other.outcome = None, OutcomeUnknown("the thread that committed for this one was interrupted")
                self._waiting.extendleft(reversed(again))
                self._pass_on()
            next_leader = self._leader
        if next_leader is not None:
            self._wake(next_leader)
        for other in own.group:
            if other.is_settled:
                other.ring()

    def _pass_on(self) -> _Ticket[object] | None:
        self._leader = self._waiting[0] if self._waiting else None
        return self._leader

    def _wake(self, next_leader: _Ticket[object]) -> None:
        if next_leader.is_async:
            self._wanted.put(True)
        else:
            next_leader.ring()

    def _lead_for_coroutines(self) -> None:
        while self._wanted.get():
            leader = self._leader
            if leader is not None and leader.is_async:  # it was woken twice
                alone(self._lead, leader)
                if leader.is_settled:
                    leader.ring()


class _Ticket(msgspec.Struct, Generic[T_co], eq=False):
    """A caller in the queue: a thread that sleeps on a lock until it has its result or the lead."""

    is_async: ClassVar[bool] = False

    operation: Operation[T_co]
    group: Sequence[_Ticket[object]] = ()
    """The tickets in its commit."""
    outcome: Answer | None = None
    """The result for its caller, who is woken by `ring`."""
    bell: threading.Lock | None = None

    @property
    def is_settled(self) -> bool:
        """Whether there is an outcome."""
        return self.outcome is not None

    def hang_bell(self) -> None:
        """Prepare to be woken; call it before another thread may ring. A thread that leads at once needs no bell."""
        self.bell = threading.Lock()
        self.bell.acquire()

    def again(self, error: TryAgain) -> _Ticket[T_co]:
        """Return a new ticket that queues again."""
        if error.was_sent:
            self.operation = msgspec.structs.replace(self.operation, was_sent=True)
        if self.bell is None:
            self.hang_bell()
        return self

    @property
    def is_late(self) -> bool:
        """Whether its caller no longer waits for a store that is away."""
        deadline = self.operation.deadline
        return deadline is not None and deadline.left <= 0

    def wait_for_turn(self) -> bool:
        """Sleep; return True when woken to lead."""
        assert self.bell is not None
        self.bell.acquire()
        return self.outcome is None

    def ring(self) -> None:
        """Wake the caller. Ringing twice is harmless."""
        if self.bell is None:
            return  # it leads at once
        with suppress(RuntimeError):
            self.bell.release()

    def answer(self) -> T_co:
        assert self.outcome is not None
        value, error = self.outcome
        if error is not None:
            raise error
        return value  # type: ignore[return-value]  # that of its own operation


class _AsyncTicket(_Ticket[T_co], eq=False, kw_only=True):
    """A coroutine in the queue, which is woken through its loop."""

    is_async: ClassVar[bool] = True

    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]

    def hang_bell(self) -> None:
        """Do nothing: the loop wakes it."""

    def ring(self) -> None:
        try:
            self.loop.call_soon_threadsafe(self._ring)
        except RuntimeError:  # the loop was closed, so nothing waits any more
            return

    def _ring(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


def _nothing() -> QuerySteps[None]:
    yield from ()
