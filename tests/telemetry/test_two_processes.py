"""OpenTelemetry over processes: a request of a web application and the job that a worker runs for it are one trace, and
runners export their counts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.project import Project
from tests.waiting import until_state

SHOP = """
import json

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

provider = TracerProvider()
# Nothing is exported before the hour is over, unless the processor is flushed.
exporter = ConsoleSpanExporter(
    out=open("spans.jsonl", "a"), formatter=lambda span: f"{os.getpid()} {span.to_json(indent=None)}\\n"
)
provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000))
trace.set_tracer_provider(provider)


@app.job
def welcome(user: int) -> None:
    trace.get_tracer("shop").start_span("mail").end()


@app.job(isolation="process")
def apart() -> None: ...
"""

WEB = """
import asyncio

import shop
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def order(request: Request) -> PlainTextResponse:
    with trace.get_tracer("web").start_as_current_span("POST /order", kind=trace.SpanKind.SERVER):
        job = await shop.KIND.aenqueue(ARGUMENTS)
    return PlainTextResponse(job.id)


async def called(web: Starlette) -> str:
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/order", "headers": [], "query_string": b""}
    await web(scope, receive, send)
    assert sent[0]["status"] == 200
    return b"".join(message.get("body", b"") for message in sent[1:]).decode()


print(asyncio.run(called(Starlette(routes=[Route("/order", order, methods=["POST"])]))))
"""


@pytest.mark.parametrize(("kind", "arguments"), [("welcome", "7"), ("apart", "")])
def test_a_request_and_its_job_are_one_trace_and_each_process_flushes_at_its_end(
    project: Project, kind: str, arguments: str
) -> None:
    project.write(SHOP)
    project.write(WEB.replace("KIND", kind).replace("ARGUMENTS", arguments), name="web.py", head="")
    asked = subprocess.run(
        [sys.executable, "web.py"],
        cwd=project.folder,
        env=project.environment_of_processes(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    with project.working() as worker:
        until_state(project.client.get_job(asked.stdout.strip()), "completed")
        assert worker.stop() == 0
    spans: dict[str, tuple[str, dict[str, Any]]] = {}
    for line in (project.folder / "spans.jsonl").read_text(encoding="utf-8").splitlines():
        pid, _, text = line.partition(" ")
        span = json.loads(text)
        spans[span["name"]] = pid, span
    (web, request), (_, send) = spans["POST /order"], spans[f"send {kind}"]
    runner, process = spans[f"process {kind}"]
    assert web != runner
    assert {span["context"]["trace_id"] for _, span in spans.values()} == {request["context"]["trace_id"]}
    assert send["parent_id"] == request["context"]["span_id"]
    assert process["parent_id"] == send["context"]["span_id"]
    if kind == "welcome":
        assert spans["mail"][1]["parent_id"] == process["context"]["span_id"]


def test_a_runner_exports_its_counts_by_the_time_it_ends(project: Project) -> None:
    project.write("""
        from opentelemetry import metrics
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader

        exporter = ConsoleMetricExporter(
            out=open("metrics.jsonl", "a"), formatter=lambda data: data.to_json(indent=None) + "\\n"
        )
        metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(exporter, 3_600_000)]))

        @app.job
        def plain():
            pass

        @app.job(max_attempts=1)
        def bad():
            raise ValueError("bad")
    """)
    with project.working() as worker:
        for job, state in ((project.job("plain"), "completed"), (project.job("bad"), "failed")):
            until_state(job, state)
        assert worker.stop() == 0
    found: dict[tuple[str, ...], int] = {}
    for line in (project.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        for resource in json.loads(line)["resource_metrics"]:
            for metric in [one for scope in resource["scope_metrics"] for one in scope["metrics"]]:
                for point in metric["data"]["data_points"]:
                    found[metric["name"], *sorted(point["attributes"].values())] = point["value"]
    assert found["jobs.started", "default", "plain"] == found["jobs.started", "bad", "default"] == 1
    assert found["jobs.finished", "completed", "default", "plain"] == 1
    assert found["jobs.finished", "bad", "default", "failed"] == 1
