"""Turns that are taken again and again for as long as a runner lives, whatever a single one of them meets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from posthorse.errors import PosthorseError

log = logging.getLogger("posthorse.maintenance")


async def take_turns(turn: Callable[[], Awaitable[float]], subject: str, *, when_failed: float) -> None:
    """Take turns until cancelled; each returns the seconds until the next. After one that failed, log and wait."""
    while True:
        try:
            pause = await turn()
        except PosthorseError as error:
            log.warning("cannot look after %s: %s", subject, error)
            pause = when_failed
        except Exception:
            log.exception("cannot look after %s", subject)
            pause = when_failed
        await asyncio.sleep(pause)
