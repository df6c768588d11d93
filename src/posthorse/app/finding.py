"""Pages of jobs that match a filter, and counts: each searches for a moment, and says how far it came."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import TYPE_CHECKING

from posthorse import ids
from posthorse.app.job import Job
from posthorse.app.page import Count, Page, Searched
from posthorse.app.verbs import Verb, commit, look_over, look_up
from posthorse.clock import moment, monotonic
from posthorse.errors import InvalidOption
from posthorse.rules.durations import Duration, as_timedelta
from posthorse.rules.search.budget import BUDGET, MAX_COUNT, MAX_PAGE, MAX_WINDOW, first_window, next_window
from posthorse.rules.search.filter import Filter
from posthorse.rules.search.page_cursor import KEY_BYTES, Position, seal, unseal
from posthorse.rules.search.ways import BY_PARKING
from posthorse.rules.values.type_mismatch import short
from posthorse.store.operations.finding import Look, Route, cursor_key, look, make_cursor_key, route, tally

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse


def page_of(app: Posthorse, wanted: Filter, limit: int, after: str | None, within: Duration) -> Verb[Page]:
    """Search until a page is full or the time is over. Raises InvalidOption."""
    if type(limit) is not int or not 1 <= limit <= MAX_PAGE:
        raise InvalidOption(f"limit is {short(limit)}; it must be a whole number from 1 to {MAX_PAGE:,}")
    seconds = as_timedelta(within, name="within").total_seconds()
    key = yield from _key(app)
    last = None if after is None else unseal(after, wanted, key)
    on = yield from look_over(app, route(wanted))
    found: list[Position] = []
    window = first_window(limit, judges=bool(on.plan.rest))
    begun = before = monotonic()
    while True:
        seen = yield from look_over(app, look(on, after=last, window=window, limit=limit - len(found)))
        found += seen.found
        last = _where_it_ended(seen, limit - len(found)) or last
        is_complete = seen.is_end and (seen.last is None or last == seen.last)
        now = monotonic()
        if is_complete or len(found) == limit or now - begun >= seconds:
            break
        window, before = next_window(window, now - before, seconds, begun + seconds - now), now
    jobs = [Job[object](app, place.job) for place in found]
    if is_complete or last is None:
        return Page(jobs, None, Searched(back_to=None, complete=True))
    return Page(jobs, seal(last, wanted, key), Searched(back_to=_moment_of(on, last), complete=False))


def walk(app: Posthorse, on: Route, after: Position | None, window: int, limit: int) -> Verb[tuple[Look, int]]:
    """Look at the next jobs of a way, oldest first; return them, and how many to look at next."""
    begun = monotonic()
    seen = yield from look_over(app, look(on, after=after, window=window, limit=limit, oldest_first=True))
    if len(seen.found) == limit:  # jobs behind the last one may have been looked at, but were not returned
        return seen._replace(last=seen.found[-1], is_end=False), window
    return seen, next_window(window, monotonic() - begun, BUDGET, BUDGET)


def count_of(app: Posthorse, wanted: Filter, within: Duration) -> Verb[Count]:
    """Count up to 10,000 jobs, until the time is over. Raises InvalidOption."""
    seconds = as_timedelta(within, name="within").total_seconds()
    on = yield from look_over(app, route(wanted))
    count, last = 0, None
    window = first_window(MAX_COUNT // 10, judges=bool(on.plan.rest))
    begun = before = monotonic()
    while True:
        seen = yield from look_over(app, tally(on, after=last, window=window))
        count, last = count + seen.matching, seen.last or last
        now = monotonic()
        if count > MAX_COUNT:
            return Count(number=MAX_COUNT, is_exact=False)
        if seen.is_end or now - begun >= seconds:
            return Count(number=count, is_exact=seen.is_end)
        window, before = next_window(window, now - before, seconds, begun + seconds - now), now


def exact_count_of(app: Posthorse, wanted: Filter) -> Verb[int]:
    """Count all jobs that match, however long that takes."""
    on = yield from look_over(app, route(wanted))
    count, last = 0, None
    while True:
        seen = yield from look_over(app, tally(on, after=last, window=MAX_WINDOW))
        count, last = count + seen.matching, seen.last or last
        if seen.is_end:
            return count


def _where_it_ended(seen: Look, missing: int) -> Position | None:
    """Return the last job that counts as looked at: if the page is full, jobs behind its last one do not."""
    return seen.found[-1] if seen.found and not missing else seen.last


def _moment_of(on: Route, last: Position) -> datetime:
    """Return how far back a position is: when its job was parked on that way, else enqueued."""
    return moment(last.at if on.plan.way in BY_PARKING else ids.milliseconds_of(last.job) * 1000)


def _key(app: Posthorse) -> Verb[bytes]:
    """Return the key that signs cursors; make it at the first page of this store."""
    stored = yield from look_up(app, cursor_key())
    if stored is None:
        stored = yield from commit(app, make_cursor_key(secrets.token_hex(KEY_BYTES)))
    return bytes.fromhex(stored)
