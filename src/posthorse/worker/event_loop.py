"""The event loop of a process that runs jobs: uvloop's where it is installed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

_make: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
with suppress(ImportError):
    import uvloop

    _make = uvloop.new_event_loop


def new_loop() -> asyncio.AbstractEventLoop:
    """Make one that runs nothing yet."""
    return _make()
