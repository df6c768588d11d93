"""What jobs log is stored with them, wherever their code runs, and nothing else is."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import logging.config
import logging.handlers
import os
import signal
import sys
import threading
from collections.abc import Iterator

import pytest

import posthorse as ph
from posthorse.rules.tuning import Tuning
from posthorse.worker.base import printing
from posthorse.worker.base.log_capture import CAPTURING
from tests.project import Project
from tests.waiting import until, until_state
from tests.worker import telling_jobs as isolated

SOON = Tuning(logs_interval=0.05)
log = logging.getLogger("tests.shop")


@pytest.fixture
def app(store_url: str) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url, lease="6s", poll="0.5s", tuning=SOON)
    app.migrate()
    yield app
    app.close()


@pytest.fixture(autouse=True)
def info() -> Iterator[None]:
    log.setLevel(logging.DEBUG)
    yield
    log.setLevel(logging.NOTSET)


def said(job: ph.Job[object], *, attempt: int | None = None) -> list[str]:
    return [line.message for line in job.logs(attempt=attempt)]


# ── where code runs ──────────────────────────────────────────────────────────────────────────────────


def test_a_job_in_a_thread(app: ph.Posthorse) -> None:
    @app.job
    def mail(count: int) -> None:
        log.info("sending to %d people", count, extra={"user": 7})
        try:
            raise ValueError("no good")
        except ValueError:
            log.exception("one failed")

    job = mail.enqueue(3)
    with app.worker():
        job.result(timeout=30)
    first, second = job.logs()
    assert (first.level, first.logger, first.message) == ("INFO", "tests.shop", "sending to 3 people")
    assert (first.attempt, first.run, first.number, first.fields) == (1, 1, 1, {"user": 7})
    assert (second.message, second.number) == ("one failed", 2)
    assert second.error is not None
    assert second.error.endswith("ValueError: no good")
    status = job.status()
    assert status.started_at is not None
    assert abs((first.at - status.started_at).total_seconds()) < 60


def test_an_async_job_its_tasks_and_threads(app: ph.Posthorse) -> None:
    @app.job
    async def mail() -> None:
        async def child() -> None:
            log.info("in a task")

        log.info("on the loop")
        await asyncio.create_task(child())
        await asyncio.to_thread(log.info, "in a thread of asyncio's")

    job = mail.enqueue()
    with app.worker():
        job.result(timeout=30)
    assert said(job) == ["on the loop", "in a task", "in a thread of asyncio's"]


def test_threads_of_the_users_own_need_the_context(app: ph.Posthorse) -> None:
    @app.job
    def mail() -> None:
        context = contextvars.copy_context()
        for target, args in ((log.info, ("alone",)), (context.run, (log.info, "with the context"))):
            thread = threading.Thread(target=target, args=args)
            thread.start()
            thread.join()

    job = mail.enqueue()
    with app.worker():
        job.result(timeout=30)
    assert "with the context" in said(job)


def test_jobs_that_run_side_by_side_are_kept_apart(app: ph.Posthorse) -> None:
    @app.job
    def work(number: int) -> None:
        for step in range(20):
            log.info("%d.%d", number, step)

    @app.job
    async def awork(number: int) -> None:
        for step in range(20):
            log.info("%d.%d", number, step)
            await asyncio.sleep(0)

    jobs = app.enqueue_many([*(work.bind(number) for number in range(10)), *(awork.bind(n) for n in range(10, 20))])
    with app.worker(concurrency=10):
        for job in jobs:
            job.result(timeout=30)
    for number, job in enumerate(jobs):
        assert said(job) == [f"{number}.{step}" for step in range(20)]


@pytest.fixture
def apart(store_url: str) -> Iterator[ph.Posthorse]:
    isolated.app.use_url(store_url)
    isolated.app.migrate()
    yield isolated.app
    isolated.app.close()


def test_isolated_jobs(apart: ph.Posthorse) -> None:
    job, ajob, quiet, forking = (
        kind.enqueue() for kind in (isolated.apart, isolated.aapart, isolated.quiet, isolated.forks)
    )
    with apart.worker():
        for each in (job, ajob, quiet, forking):
            each.result(timeout=30)
    first, second, *_ = job.logs()
    assert (first.message, first.logger, first.fields) == ("in a child", "shop.apart", {"user": 7})
    assert (second.message, second.logger) == ("by its context", "posthorse.job")
    assert said(ajob) == ["in a thread of asyncio's"]
    assert said(quiet) == []
    assert said(forking) == ["the parent"]


def test_the_last_lines_before_a_crash_are_kept(apart: ph.Posthorse) -> None:
    job = isolated.crashes.enqueue(50)
    with apart.worker():
        until_state(job, "failed")
    assert said(job) == [f"line {number}" for number in range(50)]


def test_of_very_many_lines_of_a_child_the_first_and_the_last_are_kept(apart: ph.Posthorse) -> None:
    job = isolated.many.enqueue(3_000)
    with apart.worker():
        job.result(timeout=30)
    assert said(job)[:200] == [f"line {number}" for number in range(200)]
    assert said(job)[-1] == "line 2999"


# ── which lines ──────────────────────────────────────────────────────────────────────────────────────


def test_levels(store_url: str) -> None:
    app = ph.Posthorse(store_url, log_level="WARNING", tuning=SOON)

    def tell() -> None:
        for level in (logging.DEBUG, logging.INFO, logging.WARNING):
            log.log(level, logging.getLevelName(level))

    usual = app.job(kind="usual")(tell)
    talkative = app.job(kind="talkative", log_level="DEBUG")(tell)
    numbered = app.job(kind="numbered", log_level=20)(tell)
    quiet = app.job(kind="quiet", logs=False)(tell)
    jobs = [kind.enqueue() for kind in (usual, talkative, numbered, quiet)]
    with app.worker():
        for job in jobs:
            job.result(timeout=30)
    assert [said(job) for job in jobs] == [["WARNING"], ["DEBUG", "INFO", "WARNING"], ["INFO", "WARNING"], []]
    app.close()


def test_an_application_may_turn_logs_off_and_a_kind_on(store_url: str) -> None:
    app = ph.Posthorse(store_url, logs=False, tuning=SOON)

    def tell() -> None:
        log.error("said")

    off, on = app.job(kind="off")(tell), app.job(kind="on", logs=True)(tell)
    jobs = [off.enqueue(), on.enqueue()]
    with app.worker():
        for job in jobs:
            job.result(timeout=30)
    assert [said(job) for job in jobs] == [[], ["said"]]
    app.close()


@pytest.mark.parametrize("value", ["loud", -1, True, 1.5, 1000])
def test_a_level_that_is_none_is_refused(app: ph.Posthorse, value: object) -> None:
    with pytest.raises(ph.InvalidOption, match="log_level is"):
        app.job(log_level=value)(lambda: None)  # type: ignore[call-overload]


def test_fields_of_the_context_logger_and_of_the_call(app: ph.Posthorse, caplog: pytest.LogCaptureFixture) -> None:
    @app.job
    def mail(ctx: ph.Context) -> None:
        ctx.log.warning("said", extra={"user": 7})
        log.warning("said", extra={"kind": "invoice", "attempt": 7})

    job = mail.enqueue()
    with app.worker():
        job.result(timeout=30)
    line, other = job.logs()
    assert line.fields == {"user": 7}
    assert other.fields == {"kind": "invoice", "attempt": 7}, "those of the application stay"
    [record] = [record for record in caplog.records if record.name == "posthorse.job"]
    assert (vars(record)["job_id"], vars(record)["kind"], vars(record)["user"]) == (job.id, "mail", 7)


def test_odd_records(app: ph.Posthorse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)

    class Broken:
        def __str__(self) -> str:
            raise ValueError("no")

        __repr__ = __str__

    @app.job
    def mail() -> None:
        log.warning("%d people", "three")
        log.warning("%s", Broken())
        log.warning("\0 \x1b[31m", extra={"broken": Broken(), "odd": "\ud800"})
        log.warning({"event": "sent", "user": 7, "_logger": log}, extra={"_name": "warning"})  # as structlog does
        log.warning("with the stack", stack_info=True)

    job = mail.enqueue()
    with app.worker():
        job.result(timeout=30)
    lines = job.logs()
    assert lines[0].message.startswith("%d people ('three',) (not formatted:")
    assert [line.message for line in lines][-3:] == ["\0 \x1b[31m", "sent", "with the stack"]
    assert lines[-3].fields["odd"] == "\\ud800"
    assert lines[-2].fields == {"user": 7}
    assert lines[-1].error is not None


# ── what is printed ──────────────────────────────────────────────────────────────────────────────────


def test_what_jobs_print_is_kept_on_request(store_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    app = ph.Posthorse(store_url, tuning=SOON, capture_print=True)

    def tell(number: int) -> None:
        print("one", number)  # noqa: T201
        print("two", end="")  # noqa: T201
        print(" parts\nand", end="\n")  # noqa: T201
        sys.stdout.writelines(["three\n"])

    usual, quiet = app.job(kind="usual")(tell), app.job(kind="quiet", capture_print=False)(tell)
    jobs = [usual.enqueue(1), quiet.enqueue(2)]
    before = sys.stdout
    with app.worker():
        for job in jobs:
            job.result(timeout=30)
        print("of the application")  # noqa: T201
    assert sys.stdout is before
    assert [(line.logger, line.message) for line in jobs[0].logs()] == [
        ("print", text) for text in ("one 1", "two parts", "and", "three")
    ]
    assert jobs[1].logs() == []
    shown = capsys.readouterr().out
    assert shown.count("two parts\nand\nthree\n") == 2
    assert "of the application" in shown
    app.close()


def test_what_isolated_jobs_print(apart: ph.Posthorse) -> None:
    job = isolated.prints.enqueue()
    with apart.worker():
        job.result(timeout=30)
    assert said(job) == ["printed"]


def test_what_a_job_prints_last_is_kept_without_an_end_of_the_line(store_url: str) -> None:
    app = ph.Posthorse(store_url, tuning=SOON)

    def tell() -> None:
        print("50 %", end="")  # noqa: T201

    def fail() -> None:
        print("50 %", end="")  # noqa: T201
        raise ValueError("no good")

    async def atell() -> None:
        print("whole\n50 %", end="")  # noqa: T201

    jobs = [
        app.job(kind="tell", capture_print=True)(tell).enqueue(),
        app.job(kind="fail", capture_print=True, max_attempts=2, backoff=0)(fail).enqueue(),
        app.job(kind="atell", capture_print=True)(atell).enqueue(),
        app.job(kind="quiet")(tell).enqueue(),
    ]
    with app.worker():
        for job in jobs:
            until_state(job, "completed", "failed")
        assert printing.BEGUN == {}
    assert [said(job) for job in jobs] == [["50 %"], ["50 %", "50 %"], ["whole", "50 %"], []]
    app.close()


def test_what_isolated_jobs_print_last(apart: ph.Posthorse) -> None:
    jobs = [isolated.prints_without_end.enqueue() for _ in range(3)]
    with apart.worker(concurrency=1):
        for job in jobs:
            job.result(timeout=30)
    assert [said(job) for job in jobs] == [["no end"]] * 3, "once, although the job wraps the stream"


# ── what is kept, and for which attempt ──────────────────────────────────────────────────────────────


def test_each_attempt_has_its_own_lines(app: ph.Posthorse) -> None:
    @app.job(max_attempts=3, backoff=0)
    def mail(ctx: ph.Context) -> None:
        log.info("attempt %d", ctx.attempt)
        if ctx.attempt < 3:
            raise ValueError("no good")

    job = mail.enqueue()
    with app.worker():
        job.result(timeout=30)
    assert [(line.attempt, line.message) for line in job.logs()] == [(n, f"attempt {n}") for n in (1, 2, 3)]
    assert said(job, attempt=2) == ["attempt 2"]
    assert said(job, attempt=4) == []


def test_pages(app: ph.Posthorse) -> None:
    @app.job
    def mail() -> None:
        for number in range(450):
            log.info("%d", number)

    job = mail.enqueue()
    with app.worker():
        job.result(timeout=30)
    found, after = list[str](), None
    while page := job.logs(limit=70, after=after):
        found += [line.message for line in page]
        after = page[-1]
    assert found == [str(number) for number in range(450)]
    for wrong in ({"limit": 0}, {"limit": 100_001}, {"attempt": 0}, {"after": 3}):
        with pytest.raises(ph.InvalidOption):
            job.logs(**wrong)  # type: ignore[call-overload]


def test_of_very_many_lines_the_first_and_the_last_are_kept(app: ph.Posthorse) -> None:
    @app.job
    def mail() -> None:
        for number in range(5_000):
            log.info("%d", number)

    job = mail.enqueue()
    with app.worker():
        job.result(timeout=30)
    lines = job.logs(limit=2_000)
    assert [line.message for line in lines[:200]] == [str(number) for number in range(200)]
    assert lines[-1].message == "4999"
    assert 800 < len(lines) <= 1_000
    assert sum(1 + line.left_out for line in lines) == 5_000


def test_lines_can_be_read_and_followed_while_the_job_runs(app: ph.Posthorse) -> None:
    go_on = threading.Event()

    @app.job
    def mail() -> None:
        log.info("begun")
        go_on.wait(30)
        log.info("done")

    job = mail.enqueue()
    with app.worker():
        until(lambda: said(job) == ["begun"])
        lines = iter(job.logs(follow=True))
        assert next(lines).message == "begun"
        go_on.set()
        assert [line.message for line in lines] == ["done"]
        assert [line.message for line in job.logs(follow=True)] == ["begun", "done"]


def test_lines_can_be_followed_by_a_coroutine(app: ph.Posthorse) -> None:
    @app.job
    async def mail() -> None:
        log.info("said")

    async def main() -> list[str]:
        job = await mail.aenqueue()
        async with app.worker():
            followed = [line.message async for line in job.logs(follow=True)]
            return followed + [line.message for line in await job.alogs()]

    assert asyncio.run(main()) == ["said", "said"]


def test_what_is_logged_after_the_end_is_not_kept(app: ph.Posthorse) -> None:
    late: list[asyncio.Task[None]] = []
    is_over = asyncio.Event()

    @app.job
    async def mail() -> None:
        async def linger() -> None:
            await is_over.wait()
            log.info("late")

        log.info("in time")
        late.append(asyncio.create_task(linger()))

    @app.job
    async def release() -> None:
        is_over.set()
        await late[0]

    job = mail.enqueue()
    with app.worker():
        job.result(timeout=30)
        release.enqueue().result(timeout=30)
    assert said(job) == ["in time"]


def test_a_worker_that_is_killed_loses_what_was_logged_since_the_last_write(project: Project) -> None:
    project.write("""
        import logging, time

        @app.job
        def mail():
            logging.getLogger("shop").info("begun")
            time.sleep(3600)
    """)
    with project.working() as worker:
        job = project.job("mail")
        until(lambda: said(job) == ["begun"])
        for member in worker.family():
            os.kill(member.pid, signal.SIGKILL)
        worker.process.wait()
    assert said(job) == ["begun"]


def test_lines_of_a_process_of_a_worker(project: Project) -> None:
    """With the usual level of a worker, and with a lower one for one kind."""
    project.write("""
        import logging

        @app.job
        def usual():
            logging.getLogger("shop").info("info")
            logging.getLogger("shop").debug("debug")

        @app.job(log_level="DEBUG")
        def talkative():
            logging.getLogger("shop").debug("debug of the talkative")
    """)
    with project.working() as worker:
        usual, talkative = project.job("usual"), project.job("talkative")
        for job in (usual, talkative):
            job.result(timeout=60)
        assert worker.stop() == 0
    assert said(usual) == ["info"]
    assert said(talkative) == ["debug of the talkative"]
    assert "debug of the talkative" not in worker.log, "the log of the worker keeps its own level"
    assert "begins" not in worker.log


def test_the_kind_wins_over_its_queue_and_the_queue_over_the_application(store_url: str) -> None:
    app = ph.Posthorse(store_url, log_level="WARNING", tuning=SOON)
    app.queue("mail", log_level="DEBUG")
    app.queue("quiet", log_level="ERROR")

    def tell() -> None:
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            log.log(level, logging.getLevelName(level))

    usual = app.job(kind="usual")(tell)
    own = app.job(kind="own", log_level="INFO")(tell)
    off = app.job(kind="off", logs=False)(tell)
    found = {}
    with app.worker():
        for kind in (usual, own, off):
            for queue in ("default", "mail", "quiet"):
                job = kind.using(queue=queue).enqueue()
                job.result(timeout=30)
                found[kind.kind, queue] = said(job)
    from_error = ["ERROR"]
    from_warning = ["WARNING", *from_error]
    from_info = ["INFO", *from_warning]
    assert found == {
        ("usual", "default"): from_warning,
        ("usual", "mail"): ["DEBUG", *from_info],
        ("usual", "quiet"): from_error,
        **{("own", queue): from_info for queue in ("default", "mail", "quiet")},
        **{("off", queue): [] for queue in ("default", "mail", "quiet")},
    }
    app.close()


@pytest.mark.parametrize("isolation", ["", 'isolation="process"'], ids=["thread", "isolated"])
def test_the_level_of_a_queue_changes_in_workers_that_run_and_is_taken_back(project: Project, isolation: str) -> None:
    """Records are made from that level on meanwhile, though the application configures no logging."""
    project.write(f"""
        import logging

        @app.job({isolation})
        def mail():
            logger = logging.getLogger("shop")
            logger.info("info")
            logger.debug("debug")
            return logger.isEnabledFor(logging.DEBUG)
    """)

    def run_until(is_talkative: bool) -> ph.Job[object]:
        jobs: list[ph.Job[object]] = []

        def is_so() -> bool:
            jobs.append(project.job("mail"))
            return jobs[-1].result(timeout=60) is is_talkative

        until(is_so)
        return jobs[-1]

    queue = project.client.queue("default")
    with project.working() as worker:
        assert said(run_until(False)) == ["info"]
        queue.set(log_level="DEBUG")
        assert said(run_until(True)) == ["info", "debug"]
        queue.reset("log_level")
        assert said(run_until(False)) == ["info"]
        queue.set(log_level="ERROR")
        until(lambda: not said_by(project.job("mail")))
    assert "debug" not in worker.log, "the log of the worker keeps its own level"


def said_by(job: ph.Job[object]) -> list[str]:
    job.result(timeout=60)
    return said(job)


def test_other_queues_than_those_of_a_worker_do_not_let_it_make_records(project: Project) -> None:
    project.write("""
        import logging

        app.queue("other", log_level="DEBUG")

        @app.job
        def mail():
            return logging.getLogger("shop").isEnabledFor(logging.DEBUG)
    """)
    with project.working("-q", "default"):
        assert project.result("mail") is False
    with project.working():
        assert project.result("mail") is True


# ── the application's logging ────────────────────────────────────────────────────────────────────────


def test_loggers_that_pass_nothing_on_are_heard_too(app: ph.Posthorse) -> None:
    lonely = logging.getLogger("tests.lonely")
    lonely.propagate = False

    @app.job
    def mail() -> None:
        lonely.warning("said")

    job = mail.enqueue()
    with app.worker():
        job.result(timeout=30)
    lonely.propagate = True
    assert said(job) == ["said"]
    assert lonely.handlers == []


def test_a_configuration_while_the_worker_runs_does_not_silence_jobs(app: ph.Posthorse) -> None:
    before = list(logging.root.handlers), logging.root.level

    @app.job
    def configure() -> None:
        for handler in list(logging.root.handlers):
            logging.root.removeHandler(handler)

    @app.job
    def mail() -> None:
        log.info("said")

    with app.worker():
        configure.enqueue().result(timeout=30)
        job = mail.enqueue()
        job.result(timeout=30)
    logging.root.handlers[:] = before[0]
    assert said(job) == ["said"]


def test_the_logging_of_the_application_is_left_as_it_was(app: ph.Posthorse) -> None:
    @app.job
    def mail() -> None:
        log.info("said")

    before = list(logging.root.handlers)
    with app.worker():
        mail.enqueue().result(timeout=30)
        assert CAPTURING in logging.root.handlers
    assert logging.root.handlers == before


def test_basic_config_with_force_while_a_worker_runs(app: ph.Posthorse) -> None:
    before = list(logging.root.handlers)
    heard = logging.handlers.BufferingHandler(100)

    @app.job
    def mail() -> None:
        log.warning("said")

    with app.worker():
        mail.enqueue().result(timeout=30)
        logging.basicConfig(handlers=[heard], force=True)
        job = mail.enqueue()
        job.result(timeout=30)
    after, logging.root.handlers[:] = list(logging.root.handlers), before
    assert said(job) == ["said"]
    assert after == [heard]
    assert "said" in [record.getMessage() for record in heard.buffer]


UNCONFIGURED = """
import logging, sys
import posthorse as ph

app = ph.Posthorse(sys.argv[1])


@app.job(max_attempts=1)
def fails() -> None:
    logging.getLogger("shop").warning("of the job")
    raise ValueError("no good")


job = fails.enqueue()
with app.worker():
    try:
        job.result(timeout=60)
    except ph.JobFailed:
        logging.getLogger("shop").warning("of the application")
    logging.getLogger("shop").info("too quiet")
print([line.message for line in job.logs()])
"""


def test_an_application_without_any_handler_prints_warnings_as_before(project: Project) -> None:
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", UNCONFIGURED, project.url], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "['of the job']\n"
    assert done.stderr.splitlines().count("of the application") == 1
    assert done.stderr.splitlines().count("of the job") == 1
    assert "ValueError: no good" in done.stderr
    assert "too quiet" not in done.stderr
