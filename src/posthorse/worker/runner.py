"""A runner process: the loop in a process of its own, on a tether to its supervisor.

Started as `python -m posthorse.worker.runner` with its plan as JSON in the first argument.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time

import msgspec

from posthorse.app.loading import load_application
from posthorse.errors import PosthorseError
from posthorse.store.operations.runners import Runner, register
from posthorse.version import VERSION
from posthorse.worker.embedded import retire_quietly
from posthorse.worker.loop import Loop
from posthorse.worker.process import die_with_parent
from posthorse.worker.tether import Tether

UNUSABLE = 78
"""Exit code (EX_CONFIG of sysexits.h) of a runner that starting again cannot help."""

ALIVE_EVERY = 1.0

log = logging.getLogger("posthorse.worker")


class Plan(msgspec.Struct, frozen=True):
    """What a supervisor tells a runner at its start."""

    target: str
    url: str | None
    runner: str
    worker: str
    parent: int
    tether: int
    queues: tuple[str, ...]
    concurrency: int
    takes_suspects: bool
    log_level: str


class RunnerProcess:
    """One incarnation of a runner."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._tether = Tether(socket.socket(fileno=plan.tether))
        self._app = load_application(plan.target)
        if plan.url is not None:
            self._app.use_url(plan.url)
        self._until = time.monotonic() + self._app.settings.lease
        self._work: Loop | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_taken_away = False

    async def main(self) -> None:
        """Registers, works, signs off."""
        app, plan = self._app, self._plan
        runner = Runner(
            id=plan.runner,
            worker=plan.worker,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=VERSION,
            concurrency=plan.concurrency,
            queues=plan.queues,
            kinds=sorted(app.registry),
        )
        self._work = Loop(
            app.store,
            app.registry,
            app.settings,
            runner,
            takes_suspects=plan.takes_suspects,
            lost=lambda: self._is_taken_away or time.monotonic() >= self._until,
        )
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._obey, name="posthorse-tether", daemon=True).start()
        await app.store.arun(
            register(runner, boot=app.store.backend.boot, lease=round(app.settings.lease * 1_000_000))
        )
        budgets = {kind: app.registry[kind].options.max_crashes for kind in app.registry}
        self._tether.send(ready=True, max_crashes=budgets, kinds=len(app.registry))
        beating = asyncio.create_task(self._show_life())
        try:
            await self._work.run()
        finally:
            beating.cancel()
            await retire_quietly(app.store, runner.id)
            app.close()

    async def _show_life(self) -> None:
        while True:
            self._tether.send(running=self._work.running_count if self._work else 0)
            await asyncio.sleep(ALIVE_EVERY)

    def _obey(self) -> None:
        """In a thread of its own, so that it hears its supervisor while jobs block the loop."""
        for message in self._tether.messages():
            if "lease" in message:
                self._until = time.monotonic() + float(str(message["lease"]))
            elif "lost" in message:
                self._is_taken_away = True
            elif "drain" in message:
                self._on_loop("stop")
        os._exit(1)  # the supervisor is gone: nobody beats for us any more

    def _on_loop(self, verb: str) -> None:
        if self._loop is not None and self._work is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(getattr(self._work, verb))


def main() -> None:
    """Entry of the process."""
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    die_with_parent(plan.parent)
    # Terminals and service managers signal whole groups; when a runner stops is its supervisor's affair.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    configure_logging(plan.log_level)
    try:
        process = RunnerProcess(plan)
    except PosthorseError as error:
        log.error("%s", error)
        sys.exit(UNUSABLE)
    code = 0
    try:
        _run(process)
    except PosthorseError as error:
        log.error("the runner ends: %s", error)
        code = 1
    except BaseException:
        log.exception("the runner ends")
        code = 1
    logging.shutdown()
    # Threads may still be inside jobs that were given up; they must not keep the process.
    os._exit(code)


def configure_logging(level: str) -> None:
    """One line a record, on stderr."""
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)-7s %(process)d %(name)s: %(message)s", stream=sys.stderr
    )


def _run(process: RunnerProcess) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(process.main())
    else:
        uvloop.run(process.main())


if __name__ == "__main__":
    main()
