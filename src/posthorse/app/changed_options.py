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
class ChangedOptions:
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


def template_of(registered: Registered, changed: ChangedOptions, options: str | None) -> NewJob:
    """Return what all jobs of a kind have in common, with these options, encoded."""
    return NewJob(
        id="",
        lane=_lane(registered, changed),
        arguments="",
        run_at=changed.run_at,
        delay=changed.delay,
        options=options,
        tenant=changed.tenant,
        tags=_tags(registered, changed),
    )


def unique_of(registered: Registered, changed: ChangedOptions) -> Unique | None:
    """Return which of its jobs are equal; None if all are different."""
    return registered.options.unique if changed.unique is None else changed.unique or None


def options_of(changed: ChangedOptions, unique: Unique | None) -> Options:
    """Return the options that are stored with its jobs, because they are not those of the kind."""
    backoff = changed.backoff
    return Options(
        max_attempts=changed.max_attempts,
        backoff=None if backoff is None else backoff.as_numbers(),
        timeout=changed.timeout,
        expires=changed.expires,
        unique=None if unique is None else remembered(unique),
        sequence=None if changed.sequence is None else changed.sequence.key,
        passes_dead=changed.sequence is not None and changed.sequence.on_dead == "pass",
        tenant=changed.tenant,
        tags=changed.tags,
        key=None if changed.key is None else changed.key.text,
        metadata=changed.metadata,
        shards=changed.shards,
    )


def _lane(registered: Registered, changed: ChangedOptions) -> Lane:
    options = registered.options
    return Lane(
        options.queue if changed.queue is None else changed.queue,
        registered.kind,
        options.priority if changed.priority is None else changed.priority,
        keyed=changed.sequence is not None,
    )


def _tags(registered: Registered, changed: ChangedOptions) -> str | None:
    tags = registered.options.tags if changed.tags is None else changed.tags
    return msgspec.json.encode(tags).decode() if tags else None
