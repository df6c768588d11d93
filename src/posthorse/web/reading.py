"""Jobs as a caller may see them: without what is personal, unless they may see that, too."""

from __future__ import annotations

from collections.abc import Collection
from zlib import crc32

import msgspec

from posthorse.app.reading import Finished
from posthorse.rules.job import Status
from posthorse.views.attempt import AttemptView
from posthorse.views.graph import GraphView
from posthorse.views.job import EventView, JobView, JobWithResultView
from posthorse.views.why import WhyView
from posthorse.web.access import Access

_SHOWN_TO_ALL = frozenset({"forced", "message", "pid", "seconds", "times", "type", "wait"})
"""What is recorded with events beside tracebacks, arguments and payloads."""

_ESTIMATES = {"rate": None, "remaining": None, "eta": None, "eta_range": None}


def job_view(status: Status, access: Access) -> JobView:
    """Show a job. Tracebacks quote the values of variables, and metadata may name people."""
    view = JobView.of(status)
    if access.sees_data:
        return view
    error = None if view.error is None else msgspec.structs.replace(view.error, traceback=None)
    return msgspec.structs.replace(view, error=error, metadata={})


def with_result(status: Status, finished: Finished, access: Access) -> JobWithResultView:
    """Show a job that is over, with its result if the caller may see that."""
    result = finished.result if access.sees_data else None
    return JobWithResultView.assemble(job_view(status, access), result)


def attempt_view(view: AttemptView, access: Access) -> AttemptView:
    """Show an attempt, without the traceback if the caller may not see that."""
    if access.sees_data or view.error is None:
        return view
    return msgspec.structs.replace(view, error=msgspec.structs.replace(view.error, traceback=None))


def event_view(view: EventView, access: Access) -> EventView:
    """Show an event. What was recorded with it may have a traceback, arguments and what a user sent."""
    if access.sees_data:
        return view
    return msgspec.structs.replace(
        view, detail={name: view.detail[name] for name in _SHOWN_TO_ALL & view.detail.keys()}
    )


def why_view(view: WhyView, access: Access) -> WhyView:
    """Show why a job does not run: codes alone to those who may not see all jobs, because the rest names other jobs."""
    if access.sees_all_jobs:
        return view
    reasons = [
        msgspec.structs.replace(one, sentence=one.code.replace("_", " "), facts={}, advice=None, command=None)
        for one in view.reasons
    ]
    return msgspec.structs.replace(view, reasons=tuple(reasons))


def graph_of_visible(view: GraphView, visible: Collection[str]) -> GraphView:
    """Leave out the jobs of a graph that the caller may not see."""
    nodes = tuple(node for node in view.nodes if node.id in visible)
    if len(nodes) == len(view.nodes):
        return view
    return GraphView(
        nodes=nodes,
        edges=tuple(edge for edge in view.edges if edge.job in visible and edge.dependent in visible),
        critical_path=tuple(job for job in view.critical_path if job in visible),
        is_whole=False,
    )


def entity_tag(view: JobView, version: int) -> str:
    """Return the tag of a job as it is shown: its version, and a checksum of what can change without one.

    Estimates, which change every moment, do not count.
    """
    lasting = msgspec.structs.replace(view, progress=msgspec.structs.replace(view.progress, **_ESTIMATES))
    return f'"v{version}-{crc32(lasting.to_json()):08x}"'
