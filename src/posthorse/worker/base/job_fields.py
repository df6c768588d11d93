"""Which job a record is about: that of the context in which it was made, or the one that a line of Posthorse names."""

from __future__ import annotations

import logging

from posthorse.telemetry.tracing import trace_id
from posthorse.worker.base.log_capture import JOB, OWN_FIELDS, RECORDER, TRACE_ID


class JobLabel(str):
    """The name of a job in a line of Posthorse, which also carries the job's fields."""

    __slots__ = ("fields",)
    fields: dict[str, object]

    @classmethod
    def of(cls, job: str, kind: str, attempt: int, tenant: str | None) -> JobLabel:
        """Name an attempt."""
        label = cls(f"job {job} ({kind}, attempt {attempt})")
        label.fields = {"job_id": job, "kind": kind, "attempt": attempt, "tenant": tenant}
        return label

    @classmethod
    def without_attempt(cls, job: str, kind: str, attempt: int, tenant: str | None) -> JobLabel:
        """Name the job alone, for lines that tell the attempt themselves; the fields are the same."""
        label = cls(f"job {job} ({kind})")
        label.fields = {"job_id": job, "kind": kind, "attempt": attempt, "tenant": tenant}
        return label


def job_fields_of(record: logging.LogRecord) -> dict[str, object]:
    """Return `job_id`, `kind`, `attempt`, `tenant`, `trace_id` of the job that a record is about; nothing without one.

    What the record has under these names counts first.
    """
    found = _fields_of(record)
    own = vars(record)
    return {name: own.get(name, value) for name, value in found.items()}


class JobFields(logging.Filter):
    """A filter for the handlers of an application: gives each record `job_id`, `kind`, `attempt`, `tenant` and
    `trace_id`, that of OpenTelemetry.

    outside: what records have that are about no job, such as "-" for formats of text.

    A record that has one of these from its `extra=` keeps it.
    """

    def __init__(self, outside: object = None) -> None:
        super().__init__()
        self._outside = dict.fromkeys((*OWN_FIELDS, TRACE_ID), outside)

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; every record passes."""
        own = vars(record)
        for name, value in {**self._outside, **_fields_of(record)}.items():
            own.setdefault(name, value)
        return True


def _fields_of(record: logging.LogRecord) -> dict[str, object]:
    if isinstance(record.args, tuple):
        for arg in record.args:
            if isinstance(arg, JobLabel):
                return arg.fields
    job, recorder = JOB.get(), RECORDER.get()
    if job is None:
        return {}
    tenant = None if recorder is None else recorder.tenant_of(job)
    fields: dict[str, object] = {"job_id": job[0], "kind": job[1], "attempt": job[2], "tenant": tenant}
    if (trace := trace_id()) is not None:
        fields[TRACE_ID] = trace
    return fields
