"""Heartbeats: one thread renews the leases of runners, even while jobs block their event loops.

A runner's right to work is measured on the monotonic clock from the moment a heartbeat was sent, so it ends before the
lease ends in the store.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial

from posthorse.clock import monotonic
from posthorse.errors import PosthorseError
from posthorse.store.operations.runners import beat, retire
from posthorse.store.store import Store

log = logging.getLogger("posthorse.worker")

TIME_TO_HEAR = 0.25
"""Seconds that a runner's message may take to reach its supervisor."""


class Pulse:
    """The lease of one runner, as this process knows it."""

    def __init__(
        self,
        runner: str,
        lease: float,
        *,
        running: Callable[[], int],
        may_beat: Callable[[], bool] = lambda: True,
        renewed: Callable[[float], None] = lambda until: None,
    ) -> None:
        self.runner = runner
        self.running = running
        self.may_beat = may_beat
        self.renewed = renewed
        """Called with the monotonic time until which the lease holds."""
        self.is_draining = False
        self.is_leaving = False
        """True once the runner signs off: then the end of its lease is not a loss."""
        self.is_dead = False
        self._until = monotonic() + lease

    @property
    def is_lost(self) -> bool:
        """True if the lease is over or was taken away: what runs under it can no longer commit."""
        return self.is_dead or monotonic() >= self._until

    def renew(self, until: float) -> None:
        """Note that the lease holds until this monotonic time."""
        self._until = until
        self.renewed(until)


class Heart:
    """The thread that sends heartbeats for runners until it is stopped."""

    def __init__(self, store: Store, *, lease: float, heartbeat: float) -> None:
        self._store = store
        self._lease = lease
        self._heartbeat = heartbeat
        self._pulses: dict[str, Pulse] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start; calls wait for the store as long as the caller's own would."""
        beat_forever = partial(copy_context().run, self._beat_forever)
        thread = threading.Thread(target=beat_forever, name="posthorse-heart", daemon=True)
        thread.start()
        self._thread = thread

    def stop(self) -> None:
        """Stop; leases run out unless their runners are retired."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def add(self, pulse: Pulse) -> None:
        """Add a runner."""
        self._pulses[pulse.runner] = pulse

    def drop(self, runner: str) -> None:
        """Remove a runner."""
        self._pulses.pop(runner, None)

    def _beat_forever(self) -> None:
        pause = self._heartbeat
        while not self._stop.wait(pause):
            began = monotonic()
            failed = [not self._beat_for(pulse) for pulse in list(self._pulses.values())]
            # After a failure the next try comes sooner: a lease should see several tries before it ends.
            pause = self._heartbeat / 5 if any(failed) else self._heartbeat - (monotonic() - began)
            pause = max(pause, self._heartbeat / 5)

    def _beat_for(self, pulse: Pulse) -> bool:
        """Send one heartbeat; return False if it should be tried again soon."""
        if pulse.is_dead or not pulse.may_beat():
            return True
        sent = monotonic()
        try:
            answer = self._store.run(
                beat(
                    pulse.runner,
                    lease=round(self._lease * 1_000_000),
                    running=pulse.running(),
                    draining=pulse.is_draining,
                )
            )
        except PosthorseError as error:
            log.warning("a heartbeat failed: %s", error)
            return False
        except Exception:  # the other runners depend on this thread
            log.exception("a heartbeat failed")
            return False
        if answer.is_alive:
            pulse.renew(sent + self._lease)
        elif not self._has_signed_off(pulse):
            log.error("runner %s was given up for dead; its jobs go to others", pulse.runner)
            pulse.is_dead = True
        return True

    def _has_signed_off(self, pulse: Pulse) -> bool:
        """Return whether a runner has left on its own; the store may know that before this process does."""
        self._stop.wait(TIME_TO_HEAR)
        return pulse.is_leaving or pulse.runner not in self._pulses


async def retire_quietly(store: Store, runner: str) -> None:
    """Take a runner off the list; if the store is away, the lease ends by itself."""
    try:
        await store.arun(retire(runner))
    except PosthorseError as error:
        log.info("runner %s could not sign off: %s", runner, error)
