"""An event loop in a user's process: its threads, and its end, which no call that hangs can delay."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from posthorse.clock import monotonic
from posthorse.worker.base.event_loop import run_to_end
from posthorse.worker.base.unanswered_calls import comes_within

P = ParamSpec("P")
T = TypeVar("T")


class UnjoinedThreads(ThreadPoolExecutor):
    """Threads for the blocking calls of a loop; neither the loop nor the process waits for them at its end.

    Python's own pool is joined at exit, so a call that a store never answers would keep the process alive for ever.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls: deque[tuple[Future[object], Callable[[], None]]] = deque()
        self._news = threading.Condition()
        self._resting = 0
        self._started: list[threading.Thread] = []
        self._is_closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit a call, as the base class does."""
        future: Future[T] = Future()

        def call() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    answer = fn(*args, **kwargs)
                except BaseException as error:  # raised to the caller instead
                    future.set_exception(error)
                else:
                    future.set_result(answer)

        with self._news:
            if self._is_closed:
                raise RuntimeError("the loop of this worker has ended, so nothing more is called in its threads")
            self._calls.append((future, call))  # type: ignore[arg-type]  # of what, only the caller knows
            if self._resting < len(self._calls) and len(self._started) < self._max_workers:
                thread = threading.Thread(target=self._work, name="posthorse-call", daemon=True)
                thread.start()
                self._started.append(thread)
            self._news.notify()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let each thread end after its current call; never wait for them, whatever `wait` says."""
        with self._news:
            self._is_closed = True
            if cancel_futures:
                for future, _ in self._calls:
                    future.cancel()
                self._calls.clear()
            self._news.notify_all()

    def join(self, seconds: float) -> None:
        """Wait for the threads, for at most this many seconds."""
        until = monotonic() + seconds
        for thread in self._started:
            thread.join(max(0.0, until - monotonic()))

    def _work(self) -> None:
        while (call := self._next()) is not None:
            call()
            del call  # drop the arguments, too, before the next wait

    def _next(self) -> Callable[[], None] | None:
        with self._news:
            self._resting += 1
            while not self._calls and not self._is_closed:
                self._news.wait()
            self._resting -= 1
            return self._calls.popleft()[1] if self._calls else None


def close_in_time(loop: asyncio.AbstractEventLoop, threads: UnjoinedThreads, seconds: float) -> None:
    """Cancel what is left on a loop and close it; tasks and threads get this many seconds each to end."""
    if loop.is_closed():
        return
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()

    async def end() -> None:
        if left:
            await asyncio.wait(left, timeout=seconds)
        await comes_within(seconds, loop.shutdown_asyncgens())

    run_to_end(loop, end())
    threads.shutdown(cancel_futures=True)
    threads.join(seconds)
    loop.close()
