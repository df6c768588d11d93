"""Run a coroutine in the caller's thread, and plain functions there as well, while the event loop rests.

So a plain job sees what belongs to the thread of the test: its database connection, its open transaction, its patches.
Inside such a function no event loop runs, as in the threads of a worker.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
R = TypeVar("R")


class CallerThread(Generic[R]):
    """An event loop of its own, which stops for each plain function, and goes on afterwards."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._calls: deque[tuple[Callable[[], R], asyncio.Future[R]]] = deque()

    def run(self, function: Callable[[], R]) -> asyncio.Future[R]:
        """Run a function that raises nothing, once the loop has stopped."""
        done: asyncio.Future[R] = self._loop.create_future()
        self._calls.append((function, done))
        self._loop.stop()
        return done

    def close(self) -> None:
        """Do nothing: there are no threads."""

    def drive(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end; close the loop."""
        loop = self._loop
        try:
            task = loop.create_task(main)
            task.add_done_callback(lambda _: loop.stop())
            while not task.done():
                loop.run_forever()
                while self._calls:
                    function, done = self._calls.popleft()
                    answer = function()
                    if not done.done():
                        done.set_result(answer)
            return task.result()
        finally:
            _end(loop)


def _end(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(cast("Any", loop).shutdown_default_executor())
    loop.close()
