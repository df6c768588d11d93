"""Stopped programs: a stop that also ends jobs' programs, as of a service manager that signals all, fails no job."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

import posthorse as ph
from posthorse.worker.running import stopped_programs
from tests.project import Project, Worker
from tests.waiting import until, until_state

CONVERT = """
    import subprocess

    def start():
        with subprocess.Popen(["sleep", "600"]) as program:
            open("program", "w").write(str(program.pid))
            return program.wait()

    @app.job(max_attempts=1)
    def checks():
        code = start()
        if code:
            raise subprocess.CalledProcessError(code, "convert") if code > 0 else RuntimeError("no video")

    @app.job(max_attempts=1)
    def waits_for_its_program():
        open("program", "w").close()
        subprocess.run(["sleep", "600"], check=True)

    @app.job(max_attempts=1, isolation="process")
    def isolated():
        waits_for_its_program()

    @app.job(max_attempts=1)
    def decides():
        start()
        raise ph.GiveUp("no video in it")
"""


def signal_all(worker: Worker) -> None:
    """Send SIGTERM to every process of the service, as systemd does by default; the supervisor is the last."""
    for process in reversed(worker.family()):
        process.send_signal(signal.SIGTERM)


def has_program(worker: Worker) -> bool:
    """Return whether a program of a job runs."""
    for process in worker.family():
        try:
            if process.name() == "sleep":
                return True
        except psutil.Error:
            continue
    return False


@pytest.mark.parametrize("kind", ["checks", "waits_for_its_program", "isolated"])
def test_jobs_whose_programs_are_stopped_with_the_worker_are_released(project: Project, kind: str) -> None:
    project.write(CONVERT)
    with project.working() as worker:
        job = project.job(kind)
        until(lambda: has_program(worker), what="its program")
        signal_all(worker)
        assert worker.process.wait(60) == 0
    status = job.status()
    assert (status.state, status.attempt, status.interruptions) == ("pending", 1, 0)
    assert [attempt.outcome for attempt in job.attempts()] == ["released"]


def test_a_job_that_gives_up_meanwhile_is_heard(project: Project) -> None:
    project.write(CONVERT)
    with project.working() as worker:
        job = project.job("decides")
        until(lambda: has_program(worker), what="its program")
        signal_all(worker)
        assert worker.process.wait(60) == 0
    assert job.status().state == "failed"


def test_a_program_that_dies_alone_is_an_error_of_its_job(project: Project) -> None:
    project.write(CONVERT)
    with project.working() as worker:
        job = project.job("waits_for_its_program")
        until(lambda: has_program(worker), what="its program")
        [program] = [process for process in worker.family() if process.name() == "sleep"]
        program.terminate()
        until_state(job, "failed")
        assert "SIGTERM" in str(job.attempts()[0].error)


def test_the_same_for_a_run_that_is_interrupted(project: Project) -> None:
    project.write(CONVERT)
    process = subprocess.Popen(
        project.command("run", "waits_for_its_program"),
        cwd=project.folder,
        env={**os.environ, **project.environment},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: [one for one in psutil.Process(process.pid).children() if one.name() == "sleep"], what="its program")
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C on a terminal does
    assert process.wait(60) == 130
    assert project.client.jobs("state:pending").count() == 1


def test_an_embedded_worker_that_is_left_because_of_the_same_signal(sqlite_url: str, tmp_path: Path) -> None:
    app = ph.Posthorse(sqlite_url)
    pid = tmp_path / "pid"

    @app.job(max_attempts=1)
    def convert() -> None:
        subprocess.run(["sh", "-c", f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 600"], check=True)

    job = convert.enqueue()
    with app.worker():
        until(pid.exists, what="its program")
        os.kill(int(pid.read_text()), signal.SIGINT)
    assert job.status().state == "pending"
    app.close()


IMPATIENT = """
import posthorse as ph
from posthorse.rules.tuning import Tuning

app = ph.Posthorse(grace="5s", tuning=Tuning(signal_patience=0.3))
"""


def test_a_job_that_signals_its_own_worker_is_not_released_for_ever(project: Project) -> None:
    # As a script does that ends with `kill 0`: the signal reaches the runner, and no stop follows.
    project.write(
        """
        import subprocess

        @app.job(max_attempts=2, backoff=0)
        def cleans_up():
            subprocess.run("trap '' TERM; kill 0; exit 3", shell=True, check=True)
        """,
        head=IMPATIENT,
    )
    with project.working() as worker:
        job = project.job("cleans_up")
        until_state(job, "failed")
        assert worker.process.poll() is None
    assert [attempt.outcome for attempt in job.attempts()] == ["failed", "failed"]


@pytest.mark.parametrize(
    ("message", "tells"),
    [
        ("Command '['ffmpeg']' died with <Signals.SIGTERM: 15>.", True),
        ("Command 'ffmpeg | x' returned non-zero exit status 143.", True),
        ("Command 'ffmpeg' returned non-zero exit status 1430.", False),
        ("Command '['ffmpeg']' died with <Signals.SIGSEGV: 11>.", False),
        ("SIGTERM", False),
    ],
)
def test_which_errors_tell_of_a_signal(message: str, tells: bool) -> None:
    assert stopped_programs.tells_of_signal(ph.JobError(type="E", message=message)) is tells
    assert stopped_programs.tells_of_signal(ph.JobError(type="E", message="", traceback=message)) is tells
