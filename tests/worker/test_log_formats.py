"""The log of a worker's own processes: its formats, the job of each record, and the lines about jobs that ended."""

from __future__ import annotations

import io
import json
import logging
import shlex
from collections.abc import Iterator
from typing import cast

import pytest

import posthorse as ph
from posthorse.rules.job import JobError, State
from posthorse.rules.lifecycle import Spent, Transition
from posthorse.version import VERSION
from posthorse.worker.base.job_fields import JobLabel
from posthorse.worker.base.log_capture import JOB
from posthorse.worker.base.log_formats import JsonFormat, LogfmtFormat, TextFormat, formatter_for
from posthorse.worker.running import end_lines
from posthorse.worker.running.end_lines import EndLines, log_failure
from posthorse.worker.running.running_job import RunningJob
from tests.project import Project

HARMFUL = "no good\n2026-01-01 00:00:00,000 ERROR forged\x1b[31m\x9b\u202e"


def record_of(message: object, *args: object, name: str = "shop", **extra: object) -> logging.LogRecord:
    return logging.getLogger(name).makeRecord(name, logging.WARNING, "f", 1, message, args, None, extra=extra)


@pytest.fixture
def in_job() -> Iterator[None]:
    token = JOB.set(("0123", "mail", 2, 3))
    yield
    JOB.reset(token)


# ── formats ──────────────────────────────────────────────────────────────────────────────────────────


def test_json_has_an_object_for_each_record(in_job: None) -> None:
    line = JsonFormat().format(record_of("%d people", 3, user=7, odd={1}, job_id="mine"))
    told = json.loads(line)
    assert list(told) == [
        "time",
        "level",
        "logger",
        "message",
        "process",
        "job_id",
        "kind",
        "attempt",
        "user",
        "odd",
    ]
    assert (told["level"], told["logger"], told["message"]) == ("WARNING", "shop", "3 people")
    assert (told["job_id"], told["kind"], told["attempt"]) == ("mine", "mail", 2)
    assert (told["user"], told["odd"]) == (7, [1])
    assert told["time"].endswith("Z")


def test_logfmt_quotes_what_must_be_quoted(in_job: None) -> None:
    line = LogfmtFormat().format(record_of("%d people", 3, user=7, empty="", said='a "b"'))
    told = dict(word.split("=", 1) for word in shlex.split(line))
    assert told["message"] == "3 people"
    assert told["said"] == 'a "b"'
    assert (told["empty"], told["user"], told["kind"], told["attempt"]) == ("", "7", "mail", "2")
    assert "tenant" not in told


@pytest.mark.parametrize("formatter", [JsonFormat(), LogfmtFormat()])
def test_no_text_ends_a_line_or_controls_a_terminal(formatter: logging.Formatter) -> None:
    try:
        raise ValueError(HARMFUL)
    except ValueError as error:
        record = record_of(HARMFUL, **{"name\n": HARMFUL})
        record.exc_info = (type(error), error, error.__traceback__)
    line = formatter.format(record)
    assert line.isprintable()
    if isinstance(formatter, JsonFormat):
        told = json.loads(line)
        assert told["message"] == HARMFUL
        assert told["error"].startswith("Traceback")


def test_text_has_colours_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[33mWARNING\x1b[0m" in formatter_for("text", Terminal()).format(record_of("said"))
    assert "\x1b" not in formatter_for("text", io.StringIO()).format(record_of("said"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in formatter_for("text", Terminal()).format(record_of("said"))


def test_text_names_the_job(in_job: None) -> None:
    assert TextFormat().format(record_of("said")).endswith(" shop: said [job 0123 (mail), attempt 2]")


def test_a_line_of_posthorse_has_the_fields_of_the_job_that_it_names() -> None:
    label = JobLabel.of("0123", "mail", 2, "acme")
    told = json.loads(JsonFormat().format(record_of("%s: failed", label, name="posthorse.worker")))
    assert told["message"] == "job 0123 (mail, attempt 2): failed"
    assert (told["job_id"], told["kind"], told["attempt"], told["tenant"]) == ("0123", "mail", 2, "acme")


def test_every_line_of_a_worker_is_in_its_format(project: Project) -> None:
    project.write("""
        import logging

        @app.job(max_attempts=1)
        def fails():
            logging.getLogger("shop").warning("of the job")
            raise ValueError("no good")

        @app.job(isolation="process")
        def apart(): logging.getLogger("shop").warning("of a child")
    """)
    with project.working("--log-format", "json", is_ready=False) as worker:
        fails, apart = project.job("fails"), project.job("apart")
        apart.result(timeout=60)
        with pytest.raises(ph.JobFailed):
            fails.result(timeout=60)
        assert worker.stop() == 0
    lines = [json.loads(line) for line in worker.log.splitlines()]
    assert lines[0]["message"] == f"posthorse {VERSION} starts"
    assert (lines[0]["processes"], lines[0]["kinds"]) == (1, ["apart", "fails"])
    by_message = {line["message"]: line for line in lines}
    assert by_message["of the job"]["job_id"] == fails.id
    assert by_message["of a child"]["job_id"] == apart.id
    [failed] = [line for line in lines if "failed in 1 attempt" in line["message"]]
    assert (failed["job_id"], failed["kind"], failed["level"]) == (fails.id, "fails", "ERROR")
    [completed] = [line for line in lines if "completed in" in line["message"]]
    assert (completed["job_id"], completed["level"]) == (apart.id, "INFO")


def test_a_record_inside_a_trace_has_its_id(in_job: None) -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    context = trace.SpanContext(trace_id=0xABC, span_id=1, is_remote=False)
    with trace.use_span(trace.NonRecordingSpan(context)):
        told = json.loads(JsonFormat().format(record_of("said")))
    assert told["trace_id"] == f"{0xABC:032x}"
    assert "trace_id" not in json.loads(JsonFormat().format(record_of("said")))


# ── fields for the application's own handlers ────────────────────────────────────────────────────────


def test_the_filter_adds_fields_and_leaves_those_of_others(in_job: None) -> None:
    record = record_of("said", kind="theirs")
    assert ph.JobFields().filter(record)
    told = vars(record)
    assert (told["job_id"], told["kind"], told["attempt"], told["tenant"]) == ("0123", "theirs", 2, None)


def test_the_filter_fits_a_format_outside_of_jobs_too() -> None:
    stream = io.StringIO()
    configuration = {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"job": {"()": "posthorse.JobFields", "outside": "-"}},
        "formatters": {"ours": {"format": "[%(job_id)s %(attempt)s] %(message)s"}},
        "handlers": {
            "h": {"class": "logging.StreamHandler", "stream": stream, "formatter": "ours", "filters": ["job"]}
        },
        "loggers": {"tests.filtered": {"handlers": ["h"], "propagate": False}},
    }
    import logging.config

    logging.config.dictConfig(configuration)
    logger = logging.getLogger("tests.filtered")
    logger.warning("outside")
    token = JOB.set(("0123", "mail", 2, 3))
    logger.warning("inside")
    JOB.reset(token)
    logger.handlers.clear()
    assert stream.getvalue() == "[- -] outside\n[0123 2] inside\n"


DJANGO = """
import logging.config
from django.conf import settings

settings.configure(
    LOGGING={
        "version": 1,
        "disable_existing_loggers": True,
        "filters": {"job": {"()": "posthorse.JobFields", "outside": "-"}},
        "formatters": {"ours": {"format": "OURS %(levelname)s %(name)s [%(job_id)s] %(message)s"}},
        "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "ours", "filters": ["job"]}},
        "root": {"handlers": ["h"], "level": "WARNING"},
        "loggers": {"shop": {"handlers": ["h"], "level": "INFO", "propagate": False}},
    }
)
import django
django.setup()

@app.job(max_attempts=1)
def fails():
    logging.getLogger("shop.mail").info("of the job")
    raise ValueError("no good")
"""


def test_logging_of_django_leaves_the_worker_and_the_logs_of_jobs(project: Project) -> None:
    project.write(DJANGO)
    with project.working(is_ready=False) as worker:
        job = project.job("fails")
        with pytest.raises(ph.JobFailed):
            job.result(timeout=60)
        assert worker.stop() == 0
    assert f"OURS INFO shop.mail [{job.id}] of the job" in worker.log
    assert f"OURS ERROR posthorse.worker [{job.id}] job {job.id} (fails): failed in 1 attempt" in worker.log
    assert [line.message for line in job.logs()] == ["of the job"]


# ── jobs that completed ──────────────────────────────────────────────────────────────────────────────


class Completed:
    """What the lines need of a job."""

    seconds = 0.25

    def __init__(self, number: int) -> None:
        self.label = JobLabel.of(str(number), "mail", 1, None)
        self.label_without_attempt = JobLabel.without_attempt(str(number), "mail", 1, None)


def completed(*numbers: int) -> list[RunningJob]:
    return [cast("RunningJob", Completed(number)) for number in numbers]


def test_of_very_many_jobs_that_complete_only_a_few_are_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    now = [100.0]
    monkeypatch.setattr(end_lines, "monotonic", lambda: now[0])

    async def main() -> None:
        lines = EndLines()
        lines.completed(completed(1))
        lines.completed(completed(*range(2, 1_001)))
        lines.completed(completed(1_001))
        now[0] += 1.0
        lines.completed(completed(1_002))
        await asyncio.sleep(1.05)

    with caplog.at_level(logging.INFO, "posthorse.worker"):
        asyncio.run(main())
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == "job 1 (mail, attempt 1): completed in 250ms"
    assert told[end_lines.MAX_LINES :] == [
        "job 1002 (mail, attempt 1): completed in 250ms",
        f"{1_001 - end_lines.MAX_LINES} more jobs completed within a second",
    ]


def test_completed_jobs_cost_a_comparison_below_that_level(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "posthorse.worker"):
        EndLines().completed(completed(1))
    assert caplog.records == []


@pytest.mark.parametrize(
    ("reason", "error", "told"),
    [
        (
            "attempt 1 of 3 failed",
            JobError("TimeoutError", ""),
            "(mail): attempt 1 of 3 failed, after 2ms: TimeoutError",
        ),
        (
            "failed in 3 attempts",
            JobError("ValueError", "no"),
            "(mail): failed in 3 attempts, after 2ms: ValueError: no",
        ),
        (
            "gave up: InvalidCall would come again: the call itself is wrong",
            JobError("posthorse.errors.InvalidCall", "no such kind"),
            "(mail, attempt 1): gave up, after 2ms: posthorse.errors.InvalidCall: no such kind "
            "(InvalidCall would come again: the call itself is wrong)",
        ),
        (
            "gave up: no such user",
            JobError("posthorse.GiveUp", "no such user"),
            "(mail, attempt 1): gave up, after 2ms: posthorse.GiveUp: no such user",
        ),
    ],
)
def test_a_failure_is_told_once_with_its_error(
    caplog: pytest.LogCaptureFixture, reason: str, error: JobError, told: str
) -> None:
    [running] = completed(1)
    transition = Transition(state=State.FAILED, event="failed", spent=Spent(), reason=reason, error=error)
    log_failure(running, transition, 0.002)
    [record] = caplog.records
    assert record.getMessage() == f"job 1 {told}"
    assert json.loads(JsonFormat().format(record))["attempt"] == 1
