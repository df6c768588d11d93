"""structlog: its lines are kept, and name the job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import posthorse as ph
from posthorse.rules.tuning import Tuning

structlog: Any = pytest.importorskip("structlog")


@pytest.fixture(autouse=True)
def configured() -> Iterator[None]:
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_lines_of_structlog_are_kept_and_name_their_job(store_url: str, caplog: pytest.LogCaptureFixture) -> None:
    app = ph.Posthorse(store_url, tuning=Tuning(logs_interval=0.05))

    @app.job
    def mail() -> None:
        structlog.get_logger("shop").warning("sent", user=7)

    @app.job
    async def amail() -> None:
        structlog.get_logger("shop").warning("sent", user=8)

    jobs = [mail.enqueue(), amail.enqueue(), mail.enqueue()]
    with app.worker():
        for job in jobs:
            job.result(timeout=30)
    for job, user in zip(jobs, (7, 8, 7), strict=True):
        [line] = job.logs()
        assert (line.message, line.fields) == ("sent", {"user": user})
    told = [record.msg for record in caplog.records if record.name == "shop"]
    assert {record["job_id"] for record in told if isinstance(record, dict)} == {job.id for job in jobs}
    assert structlog.contextvars.get_contextvars() == {}
    app.close()
