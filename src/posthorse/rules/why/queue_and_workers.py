"""Word what keeps all jobs of a queue and kind: a pause, a window, and workers that would not take them."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from shlex import quote

from posthorse.rules.durations import as_text
from posthorse.rules.queues import QueueSettings
from posthorse.rules.why.answer import Code, Estimate, Reason
from posthorse.rules.why.facts import MAX_NAMED, START, Facts, ServingRunner
from posthorse.rules.why.words import at_moment, listed, micros, workers_of


def queue_paused(facts: Facts) -> Reason:
    """Word that its queue is paused."""
    queue = facts.job.queue
    return Reason(
        code=Code.QUEUE_PAUSED,
        sentence=f"Its queue {queue!r} is paused.",
        facts={"queue": queue},
        advice="let the queue go on",
        command=f"posthorse queues resume {quote(queue)}",
        start=Estimate(None, None, "it depends on when the queue is resumed"),
    )


def outside_window(facts: Facts) -> Reason:
    """Word that its queue is closed at this hour."""
    queue, window = facts.job.queue, facts.settings.window
    assert window is not None
    opens = window.next_change(micros(facts.now))
    assert opens is not None, "a closed window opens"
    return Reason(
        code=Code.WINDOW,
        sentence=f"Its queue {queue!r} is closed: it runs {window} only, next in {as_text(opens - facts.now)} "
        f"({at_moment(opens)}).",
        facts={"queue": queue, "window": str(window), "opens_at": opens},
        advice="wait, or open the queue for the whole day",
        command=f"posthorse queues set {quote(queue)} window=00:00-24:00",
        start=Estimate(opens, None, "the window of its queue"),
    )


def why_unserved(
    kind: str, queue: str, settings: QueueSettings, servers: Sequence[ServingRunner], start: str = START
) -> Reason | None:
    """Return why no living worker would take jobs of a queue and kind; None if one would.

    `start` is the command that starts a worker of the application.
    """
    labels = settings.labels
    start, queue_too = _fitting(start, settings), f" -q {quote(queue)}"
    unknown = Estimate(None, None, "it depends on when such a worker is started")
    alive = [server for server in servers if server.is_alive]
    if not alive:
        silent = sorted({server.worker for server in servers})
        gone = f"; {listed(silent)} fell silent" if silent else ""
        return Reason(
            code=Code.NO_WORKER,
            sentence=f"No worker is alive{gone}.",
            facts={"silent": silent[:MAX_NAMED]},
            advice="start one",
            command=start,
            start=unknown,
        )
    knowing = [server for server in alive if kind in server.kinds]
    if not knowing:
        kinds = sorted({known for server in alive for known in server.kinds})
        nearest = get_close_matches(kind, kinds, n=1)
        hint = f"; the nearest that one knows is {nearest[0]!r}" if nearest else ""
        return Reason(
            code=Code.NO_KIND,
            sentence=f"No living worker knows its kind {kind!r}{hint}.",
            facts={"kind": kind, "nearest": nearest[0] if nearest else None, "workers": workers_of(alive)},
            advice="restart the workers, which may have imported older code, or start one whose application has the "
            "kind (after a rename, keep the old name with aliases=[…])",
            command=start,
            start=unknown,
        )
    serving = [server for server in knowing if not server.queues or queue in server.queues]
    if not serving:
        return Reason(
            code=Code.NO_QUEUE,
            sentence=f"No living worker that knows its kind takes from its queue {queue!r}.",
            facts={"queue": queue, "served": sorted({q for server in knowing for q in server.queues})[:MAX_NAMED]},
            advice="start one that does",
            command=start + queue_too,
            start=unknown,
        )
    fitting = [server for server in serving if settings.fits(server.labels)]
    if not fitting:
        needed = ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))
        return Reason(
            code=Code.NO_LABELS,
            sentence=f"No living worker has the labels that its queue {queue!r} requires: {needed}.",
            facts={"queue": queue, "labels": dict(labels), "workers": workers_of(serving)},
            advice="start one that has them",
            command=start,
            start=unknown,
        )
    if all(server.is_draining for server in fitting):
        return Reason(
            code=Code.DRAINING,
            sentence=f"All living workers that would take it are stopping: {listed(workers_of(fitting))}.",
            facts={"workers": workers_of(fitting)},
            advice="start one",
            command=start,
            start=unknown,
        )
    return None


def start_of(facts: Facts) -> str:
    """Return the command that starts a worker which would take the job."""
    return _fitting(facts.start, facts.settings)


def _fitting(start: str, settings: QueueSettings) -> str:
    labels = sorted(settings.labels.items())
    return start + "".join(f" --label {quote(f'{name}={value}')}" for name, value in labels)


def taking(facts: Facts) -> list[ServingRunner]:
    """Return the workers that would take the job."""
    job = facts.job
    return [
        server
        for server in facts.servers
        if server.is_alive
        and not server.is_draining
        and job.kind in server.kinds
        and (not server.queues or job.queue in server.queues)
        and facts.settings.fits(server.labels)
    ]
