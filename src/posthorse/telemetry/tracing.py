"""Whether this process traces: it loaded OpenTelemetry and set a tracer provider. Without, nothing of it is imported.

This module is asked at each enqueue and each attempt, so it takes one look into `sys.modules`.
"""

from __future__ import annotations

import sys


def is_traced() -> bool:
    """Return whether spans go anywhere."""
    return "opentelemetry.trace" in sys.modules and _has_provider()


def trace_id() -> str | None:
    """Return the id of the trace that this code runs in, as OpenTelemetry writes it; None outside of a trace."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from posthorse.telemetry.spans import trace_id_now

    return trace_id_now()


def _has_provider() -> bool:
    from posthorse.telemetry.spans import has_provider  # here, because it needs OpenTelemetry

    return has_provider()
