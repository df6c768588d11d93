"""The pages of a worker: `/metrics` for Prometheus, `/livez` and `/readyz` for orchestrators."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus
from importlib.util import find_spec

from posthorse.processes.http_server import HttpServer, Reply
from posthorse.processes.probing import Probing
from posthorse.processes.runner_process import RunnerProcess
from posthorse.rules.settings import Settings
from posthorse.store.store import Store
from posthorse.telemetry.latencies import Latencies
from posthorse.telemetry.store_samples import StoreSamples
from posthorse.telemetry.totals import WorkerTotals
from posthorse.version import VERSION

log = logging.getLogger("posthorse.worker")

NEEDS_EXTRA = "metrics need another package: pip install 'posthorse[prometheus]'"


class WorkerPages:
    """What one worker shows of itself while it listens."""

    def __init__(
        self,
        listening: socket.socket,
        store: Store,
        settings: Settings,
        runners: Mapping[int, RunnerProcess],
        *,
        worker: str,
        slots: int,
        is_stopping: Callable[[], bool],
    ) -> None:
        self.totals = WorkerTotals()
        self.latencies = Latencies()
        self.deaths = 0
        self._settings = settings
        self._runners = runners
        self._slots = slots
        self._probing = Probing(store, worker, self._pids, is_stopping)
        self._samples = StoreSamples(store, lease=settings.lease)
        self._server = HttpServer(
            listening, {"/metrics": self._metrics, "/livez": self._livez, "/readyz": self._readyz}
        )
        self._has_metrics = find_spec("prometheus_client") is not None
        if not self._has_metrics:
            log.warning("/metrics is empty: %s", NEEDS_EXTRA)

    async def start(self) -> None:
        """Begin to answer."""
        await self._server.start()
        log.info("listening at %s", self._server.address)

    async def close(self) -> None:
        """Stop listening."""
        await self._server.close()

    async def _livez(self, _: Mapping[str, str]) -> Reply:
        health = await self._probing.health()
        return _told("live", health.live, health.problems)

    async def _readyz(self, _: Mapping[str, str]) -> Reply:
        health = await self._probing.health()
        return _told("ready", health.ready, health.problems)

    async def _metrics(self, headers: Mapping[str, str]) -> Reply:
        if not self._has_metrics:
            return Reply(HTTPStatus.NOT_IMPLEMENTED, f"{NEEDS_EXTRA}\n".encode())
        from posthorse.telemetry.exposition import WorkerFigures, metrics_page  # here, because it needs the extra

        at_work = [one for one in self._runners.values() if one.was_ready and not one.ended.is_set()]
        figures = WorkerFigures(
            version=VERSION,
            release=self._settings.release or "",
            series=self.totals.series,
            slots=self._slots,
            busy=sum(one.running for one in at_work),
            runners=sum(one.pulse is not None and not one.pulse.is_lost for one in at_work),
            deaths=self.deaths,
            latencies=self.latencies,
        )
        body, content_type = metrics_page(figures, await self._samples.newest(), headers.get("accept", ""))
        return Reply(HTTPStatus.OK, body, content_type)

    def _pids(self) -> Collection[int]:
        return {one.process.pid for one in self._runners.values() if not one.ended.is_set()}


def _told(question: str, answer: bool | None, problems: Collection[str]) -> Reply:
    status = HTTPStatus.OK if answer else HTTPStatus.SERVICE_UNAVAILABLE
    lines = [f"{question} {'yes' if answer else 'no'}", *problems]
    return Reply(status, "".join(f"{line}\n" for line in lines).encode())
