"""What `using` changed of a kind, and what follows for its jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from posthorse.rules.job import Lane, NewJob, Options
from posthorse.rules.keys import Key
from posthorse.rules.limits import Sequence as InSequence
from posthorse.rules.registry import Registered
from posthorse.rules.retry import Backoff
from posthorse.rules.unique import Unique, remembered

if TYPE_CHECKING:
    from posthorse.app.call import Call
    from posthorse.store.connections import UserConnection


@dataclass(frozen=True, slots=True)
class Overrides:
    """The options that `using` changed. Times are microseconds."""

    queue: str | None = None
    priority: int | None = None
    tags: tuple[str, ...] | None = None
    max_attempts: int | None = None
    backoff: Backoff | None = None
    timeout: float | None = None
    expires: float | None = None
    delay: int | None = None
    run_at: int | None = None
    key: Key | None = None
    tenant: str | None = None
    metadata: dict[str, Any] | None = None
    unique: Unique | Literal[False] | None = None
    sequence: InSequence | None = None
    shards: int | None = None
    connection: UserConnection | None = None
    block: float = 0.0
    on_success: tuple[Call[Any], ...] | None = None
    on_failure: tuple[Call[Any], ...] | None = None


def template_of(registered: Registered, overrides: Overrides, options: str | None) -> NewJob:
    """Return what all jobs of a kind have in common, with these options, encoded."""
    return NewJob(
        id="",
        lane=_lane(registered, overrides),
        arguments="",
        run_at=overrides.run_at,
        delay=overrides.delay,
        options=options,
        tenant=overrides.tenant,
        tags=_tags(registered, overrides),
    )


def unique_of(registered: Registered, overrides: Overrides) -> Unique | None:
    """Return which of its jobs are equal; None if all are different."""
    return registered.options.unique if overrides.unique is None else overrides.unique or None


def options_of(overrides: Overrides, unique: Unique | None) -> Options:
    """Return the options that are stored with its jobs, because they are not those of the kind."""
    backoff = overrides.backoff
    return Options(
        max_attempts=overrides.max_attempts,
        backoff=None if backoff is None else backoff.as_numbers(),
        timeout=overrides.timeout,
        expires=overrides.expires,
        unique=None if unique is None else remembered(unique),
        sequence=None if overrides.sequence is None else overrides.sequence.key,
        passes_dead=overrides.sequence is not None and overrides.sequence.on_dead == "pass",
        tenant=overrides.tenant,
        tags=overrides.tags,
        key=None if overrides.key is None else overrides.key.text,
        metadata=overrides.metadata,
        shards=overrides.shards,
    )


def _lane(registered: Registered, overrides: Overrides) -> Lane:
    options = registered.options
    return Lane(
        options.queue if overrides.queue is None else overrides.queue,
        registered.kind,
        options.priority if overrides.priority is None else overrides.priority,
        keyed=overrides.sequence is not None,
    )


def _tags(registered: Registered, overrides: Overrides) -> str | None:
    tags = registered.options.tags if overrides.tags is None else overrides.tags
    return msgspec.json.encode(tags).decode() if tags else None
