"""Figures of the engine that users do not set, in one frozen value that is injected as the clock is.

`Posthorse(tuning=…)` gives it to the store, which all parts of a worker are built from; so it reaches every process
that imports the application. Settings are promised and explained to users; these figures are neither, and their
defaults fit every store that was measured. Tests and measurements change a few of them. A figure that neither changes
is a constant beside its code.

Times are in seconds, unless they say otherwise.
"""

from __future__ import annotations

import msgspec


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """How often the engine looks, how much it does at once, and how long it waits."""

    # ── enqueuing and steering ───────────────────────────────────────────────────────────────────────

    admission_interval: float = 1.0
    """After so long an enqueuing process looks again for settings of queues that others changed."""

    worry_time: float = 5.0
    """After so long a caller that waits for a result hears that no living worker would take the job."""

    first_words: float = 3.0
    """After so long a command that waits says why a job does not run, and every `words_interval` what changed."""

    words_interval: float = 10.0

    steering_page: int = 200
    """Jobs that are steered in one transaction; other transactions wait for it, on SQLite all that write."""

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────

    look_time: float = 10.0
    """After so long a look at many jobs is ended, unless its caller gives it another time."""

    sqlite_looks: int = 2
    """Connections for looks: so many run at the same moment in one process."""

    postgres_looks: int = 4

    # ── migrating ────────────────────────────────────────────────────────────────────────────────────

    migration_patience: float = 600.0
    """For so long a step is tried again and again while other transactions hold locks on its table."""

    migration_turn: float = 2.0
    """After so long a wait for the writers of a file, and for steps of other processes, is reported."""

    # ── SQLite ───────────────────────────────────────────────────────────────────────────────────────

    checkpoint_pages: int = 4_000
    """Pages of the log, of 4 KiB, after which a commit moves them into the file. With SQLite's default of 1,000, pages
    that are written often are copied four times as often, with two syncs each time."""

    max_idle_log: int = 64_000_000
    """The log is cut to this many bytes when it begins anew."""

    sqlite_synchronous: str = "FULL"
    """How far a commit has come when it returns: to the disk. Only for stores that may get lost, as in tests, "OFF"."""

    log_check_interval: float = 0.1
    """Minimum time between two checks whether the log is still the one that others open."""

    lock_check_interval: float = 1.0
    """Minimum time between two checks whether the lock file is still the one that others open."""

    # ── the end of a process ─────────────────────────────────────────────────────────────────────────

    stop_time: float = 3.0
    """For so long a function of `on_stop`, or the clean-up of a shared resource, may delay the end of its process."""

    # ── throttles ────────────────────────────────────────────────────────────────────────────────────

    throttle_interval: float = 5.0
    """After so long a signal of a server or a probe is measured anew."""

    throttle_patience: float = 0.5
    """For so long a job waits for a signal that is being measured; then the signal counts as silent."""

    throttle_in_place: float = 2.0
    """For so long a throttled job waits with its worker; for a longer wait it leaves."""

    throttle_away: float = 30.0
    """After so long it looks again, if nothing says how long the wait is."""

    # ── parts ────────────────────────────────────────────────────────────────────────────────────────

    share_interval: float = 1.0
    """Time between two looks of a running part whether places are free, for which it should give half of its rest
    away."""

    shared_seconds: float = 4.0
    """A part with less than this left keeps it."""

    shared_slices: float = 8.0
    """So does one with fewer slices left than this."""

    # ── claiming ─────────────────────────────────────────────────────────────────────────────────────

    prefetch: float = 0.02
    """So many jobs are claimed ahead of free slots as start within this time."""

    news_interval: float = 0.05
    """Time between two looks of a busy runner at what changed in its queues."""

    mark_lag: float = 1.0
    """By so much a low-water mark lags behind while the runner keeps up: longer than most transactions."""

    mark_sweep_interval: float = 2.0
    """Minimum time between two sweeps that start from zero instead of the low-water mark."""

    shut_gate_interval: float = 0.2
    """After so long a gate is looked at again that opens when a job of another runner ends."""

    crowd_interval: float = 0.02
    """Time between the looks of runners that a notification did not name: they look one after the other, in case those
    named may not take the job."""

    # ── running ──────────────────────────────────────────────────────────────────────────────────────

    start_time: float = 0.005
    """After so long the event loop is let go on, however quick the jobs are that start."""

    request_interval: float = 0.5
    """Time between two looks for what is requested of running jobs."""

    telling_interval: float = 0.1
    """Time between two blocks that tell the stream of starts, while it is watched."""

    progress_interval: float = 1.0
    """Minimum time between two saves of a progress that is only reported."""

    sleep_in_place: float = 1.0
    """A job that sleeps for less than this keeps its worker. In tests of applications, where nothing sleeps, 0."""

    step_pause: float = 1.0
    """By this the waits between the tries of a step are multiplied: by 0 in tests of applications."""

    end_lines_interval: float = 1.0
    """Of the jobs that complete within this time only the first have a line in the log of their worker."""

    logs_interval: float = 1.0
    """Time between two writes of what jobs log. A runner that is killed loses what they logged since."""

    max_results: int = 2_000
    """If more results wait to be written, no more jobs are claimed."""

    max_result_characters: int = 32_000_000
    """The same for their length; one commit writes at most so many, or one more result."""

    max_jobs_of_child: int = 1_000
    """After so many jobs a child process is replaced."""

    signal_patience: float = 5.0
    """For so long after a signal to this very process, errors of programs are held back until a stop is announced.
    Without one, a job sent the signal, as a script with `kill 0` does to its group: then errors are the job's own."""

    unfit_wait: int = 30_000_000
    """Microseconds that a job whose arguments do not fit waits before a worker, perhaps of a newer version, tries
    again."""

    # ── maintenance ──────────────────────────────────────────────────────────────────────────────────

    max_sweep_pause: float = 2.0
    """Maximum time between two looks without writes, because a clock that is put forward wakes no process."""

    due_at_once: int = 1_000
    """Jobs that one commit lines up."""

    gates_interval: float = 1.0
    """Time between two looks at gates before which jobs are held, in addition to looks for new tokens."""

    free_gates_interval: float = 60.0
    """The same if no jobs are held; these looks forget unused gates."""

    keys_interval: float = 30.0
    """Time between two looks for expired keys."""

    keys_pause: float = 0.1
    """Time between two batches of them, so that a million keys delay no other write for long."""

    keys_at_once: int = 1_000
    """Expired keys that one commit forgets."""

    retention_page: int = 1_000
    """Jobs that retention looks at, and removes, in one turn."""

    dead_letters_interval: float = 10.0
    """Time between two looks; an observer hears of dead letters this late at most."""

    conditions_interval: float = 10.0
    """The same for other conditions."""

    events_interval: float = 0.1
    """Time between two looks at the stream of events in a process where readers follow it."""

    observers_interval: float = 0.25
    """Time between two looks at the stream for durable observers."""

    observer_pages: int = 10
    """Pages of the stream that one look reads for each durable observer, at most."""

    forget_events_interval: float = 10.0
    """Time between two looks for events to forget."""

    tallies_interval: float = 10.0
    """Time between two writes of what a runner counted. A runner that is killed loses what it counted since."""

    stock_interval: float = 1.0
    """Time between two looks at the shelves that code declares; one that is low is refilled this late at most."""

    stock_tidy_interval: float = 10.0
    """Time between two removals of what was taken from a shelf or is stale; figures of stocks are this late at most."""

    fold_interval: float = 10.0
    """Time between two looks for tallies to fold."""

    keep_written: float = 120.0
    """After so long the tallies that runners wrote are folded into minutes."""

    keep_minutes: float = 2 * 86_400.0
    """After so long minutes are folded into hours, and few depths are kept."""

    keep_hours: float = 90 * 86_400.0
    """After so long hours are folded into days."""

    keep_days: float = 396 * 86_400.0
    """After so long, 13 months, figures leave."""

    depths_interval: float = 15.0
    """Time between two samples of how deep queues are."""

    take_back_after: float = 180.0
    """Time without a sign of the processes that declared a schedule last, after which older code takes it back."""


DEFAULTS = Tuning()
