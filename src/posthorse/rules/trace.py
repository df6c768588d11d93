"""The W3C trace context that a job carries from where it was enqueued to where it runs."""

from __future__ import annotations

import msgspec

MAX_STATE = 512
"""Characters of a `tracestate`; a longer one is left out, as its specification allows."""


class TraceContext(msgspec.Struct, frozen=True, omit_defaults=True):
    """The `traceparent` and `tracestate` of the span that enqueued a job.

    is_batch: whether it enqueued other jobs, too.
    """

    parent: str
    state: str = ""
    is_batch: bool = False
