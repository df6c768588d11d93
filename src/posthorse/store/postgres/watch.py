"""Receive notifications of other sessions: LISTEN on a connection of its own."""

from __future__ import annotations

import asyncio
import logging
import random
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from posthorse.store.watch import BlindWatch, Watch

if TYPE_CHECKING:
    from posthorse.store.postgres.backend import PostgresBackend
    from posthorse.store.store import Store

log = logging.getLogger("posthorse.store")

SMALL_CROWD = 4
"""Up to so many idle runners each poll at their own pace; more share the rate of these."""


GOODBYE = 0.5
"""Seconds in which the connection that listens may end. If it is ended while it begins, the driver asks the server to
cancel that, and waits for a frozen one for five seconds."""


class PostgresNotifier:
    """Wakes by NOTIFY and LISTEN; see `PostgresWatch`."""

    def notify(self) -> None:
        """Do nothing: the statements notify by themselves."""

    def subscribe(self, store: Store, runner: str) -> Watch:
        """Watch for work."""
        return PostgresWatch(store, runner)

    def subscribe_to_writes(self, store: Store, *, closest: float, blind: float) -> Watch:
        """Only look again: scheduled jobs that become due notify no process."""
        return BlindWatch(blind=blind)


class PostgresWatch(Watch):
    """Receives notifications on a connection of its own; behind a pooler there are none, and it looks more often.

    A notification says how many runners are idle, and names those that should look at once; an empty one means all.
    """

    def __init__(self, store: Store, runner: str) -> None:
        super().__init__(blind=0.1)
        self._backend = cast("PostgresBackend", store.backend)
        self._runner = runner
        self._crowd_interval = store.tuning.crowd_interval
        self._turn: asyncio.TimerHandle | None = None
        self._crowd = 1
        """How many runners were idle at the last notification."""
        self._is_listening = False
        self._task: asyncio.Task[None] | None = None

    def patience(self, poll: float) -> float:
        """Return a longer wait in a crowd: if a notification is lost, one of them still finds the job as soon."""
        return poll * max(1.0, self._crowd / SMALL_CROWD)

    async def __aenter__(self) -> Self:
        self._task = asyncio.get_running_loop().create_task(self._listen_forever())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._turn is not None:
            self._turn.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=GOODBYE)

    async def _hears(self, timeout: float) -> bool:
        return await super()._hears(timeout if self._is_listening else min(timeout, self.blind))

    async def _listen_forever(self) -> None:
        failures = 0
        while True:
            try:
                async for told in self._backend.notifications(self._begin):
                    self._hear(told)
                return  # behind a pooler there are no notifications
            except Exception as error:
                failures += 1
                pause = random.uniform(0.1, min(10.0, 0.2 * 2**failures))
                log.info("not listening to PostgreSQL: %s; again in %.1f s", error, pause)
            finally:
                self._is_listening = False
            await asyncio.sleep(pause)

    def _hear(self, told: str) -> None:
        crowd, *called = told.split() or (str(self._crowd),)
        self._crowd = int(crowd)
        if not called or self._runner in called:
            self.wake()
        elif self._turn is None:
            pause = random.uniform(0, self._crowd_interval * self._crowd)
            self._turn = asyncio.get_running_loop().call_later(pause, self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        self.hint()

    def _begin(self) -> None:
        self._is_listening = True
        self.wake()  # work from before LISTEN sent no notification here
