"""Leaks: no secrets from a worker's processes, and no state of those processes into the user's code."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from posthorse.cli.bench_measures import running_worker
from posthorse.processes.control_pipe import ControlPipe
from posthorse.worker.base.launch import inherited_socket, socket_pair
from tests.project import Project
from tests.waiting import until

# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────


def told_to(process: psutil.Process) -> str:
    """Return what every user of the machine can read of a process."""
    try:
        return "\0".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.mark.parametrize("how", ["environment", "option"])
def test_no_process_of_a_worker_repeats_the_address(postgres_project: Project, how: str) -> None:
    project = postgres_project
    assert "canary" in project.url
    project.write("""
        import sys, time

        @app.job(isolation="process")
        def waits():
            while not os.path.exists("go"):
                time.sleep(0.01)
            return sys.argv

        @app.job
        def arguments():
            return sys.argv
    """)
    words, environment = ((), {}) if how == "environment" else (("--url", project.url), {"POSTHORSE_URL": None})
    with project.working(*words, environment=environment) as worker:
        job = project.job("waits")
        until(lambda: len(worker.family()) >= 4, what="supervisor, runner, reaper and child")
        supervisor, *others = worker.family()
        assert ("canary" in told_to(supervisor)) is (how == "option")
        for process in others:
            assert "canary" not in told_to(process)
            if how == "option":
                assert "canary" not in str(process.environ())
        (project.folder / "go").touch()
        assert "canary" not in str(job.result(timeout=60))
        assert "canary" not in str(project.result("arguments"))
        assert worker.stop() == 0
        assert "canary" not in worker.log


def test_the_worker_of_a_bench_repeats_no_address(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgres_url.replace("://postgres@", "://postgres:canary@")
    with running_worker("posthorse.cli.bench_jobs:app", url, processes=1, concurrency=1) as worker:
        assert "canary" not in told_to(psutil.Process(worker.pid))


# ── signals ──────────────────────────────────────────────────────────────────────────────────────────

SIGNALS = """
    import signal, subprocess, sys

    def ignored_by_programs():
        told = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
        masks = dict(line.split(":\\t") for line in told.splitlines() if line.startswith(("SigIgn", "SigBlk")))
        stops = 1 << signal.SIGTERM - 1 | 1 << signal.SIGINT - 1
        return [name for name, mask in masks.items() if int(mask, 16) & stops]

    def usual_in_a_fork():
        pid = os.fork()
        if pid == 0:
            os._exit(signal.getsignal(signal.SIGTERM) != signal.SIG_DFL or signal.getsignal(signal.SIGINT) is not
                     signal.default_int_handler)
        return os.waitpid(pid, 0)[1] == 0

    def forks_end_at_once():
        for _ in range(30):
            pid = os.fork()
            if pid == 0:
                signal.pause()
            os.kill(pid, signal.SIGTERM)  # long before it can have got so far
            if os.waitpid(pid, 0)[1] != signal.SIGTERM:
                return False
        return not signal.pthread_sigmask(signal.SIG_BLOCK, ())

    def pool_ends():
        import multiprocessing, time
        with multiprocessing.get_context("fork").Pool(1) as pool:
            asked = pool.apply_async(time.sleep, (600,))
            while not pool._inqueue.empty():
                time.sleep(0.01)
        return True

    def all_of_them():
        return [ignored_by_programs(), usual_in_a_fork(), forks_end_at_once(), pool_ends()]

    @app.job
    def in_thread(): return all_of_them()

    @app.job
    async def on_loop(): return all_of_them()

    @app.job(isolation="process")
    def isolated(): return all_of_them()
"""
FREE: list[object] = [[], True, True, True]


def test_what_jobs_start_hears_signals_as_if_there_was_no_worker(project: Project) -> None:
    project.write(SIGNALS)
    with project.working():
        assert project.result("in_thread") == FREE
        assert project.result("on_loop") == FREE
        assert project.result("isolated") == FREE


@pytest.mark.parametrize("kind", ["in_thread", "on_loop", "isolated"])
def test_the_same_with_run(project: Project, kind: str) -> None:
    project.write(SIGNALS)
    done = project.run("run", kind)
    assert done.stdout.strip() == "[[],true,true,true]", done.stderr


def test_a_runner_goes_on_when_its_whole_group_is_signalled(project: Project) -> None:
    project.write("""
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as an application may do for its web server

        @app.job
        def signals_its_process():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            return "lives"
    """)
    with project.working():
        assert project.result("signals_its_process") == "lives"


# ── defaults of sockets ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def default_timeout() -> Iterator[None]:
    socket.setdefaulttimeout(30)
    yield
    socket.setdefaulttimeout(None)


@pytest.mark.usefixtures("default_timeout")
def test_sockets_between_processes_block_whatever_the_application_sets() -> None:
    ours, theirs = socket_pair()
    with ours, inherited_socket(theirs.detach()) as theirs:
        for end in (ours, theirs):
            assert end.gettimeout() is None
            assert not is_non_blocking(end)
        assert not theirs.get_inheritable()
    control_pipe, end = ControlPipe.pair()
    with end:
        assert not is_non_blocking(end)
        control_pipe.close()


def is_non_blocking(end: socket.socket) -> bool:
    """Return the kernel's setting, which an inheriting process gets."""
    return not os.get_blocking(end.fileno())


def test_jobs_run_where_the_application_sets_a_timeout_for_sockets(project: Project) -> None:
    project.write("""
        import socket
        socket.setdefaulttimeout(30)

        @app.job
        def plain(): return 1

        @app.job(isolation="process")
        def isolated(): return 2
    """)
    with project.working():
        assert [project.result("plain"), project.result("isolated")] == [1, 2]


# ── descriptors ──────────────────────────────────────────────────────────────────────────────────────


def test_programs_of_jobs_inherit_no_descriptor_of_a_runner(project: Project) -> None:
    project.write("""
        import subprocess

        def inherited():
            told = subprocess.run(["ls", "-l", "/proc/self/fd"], capture_output=True, text=True, close_fds=False)
            return [line for line in told.stdout.splitlines() if "socket" in line]

        @app.job
        def in_thread(): return inherited()

        @app.job(isolation="process")
        def isolated(): return inherited()
    """)
    with project.working():
        assert project.result("in_thread") == []
        assert project.result("isolated") == []


# ── the folder ───────────────────────────────────────────────────────────────────────────────────────


def test_an_application_that_changes_its_folder_is_found_by_every_process(project: Project) -> None:
    (project.folder / "data").mkdir()
    project.write("""
        os.chdir("data")

        @app.job
        def plain(): return os.getcwd()

        @app.job(isolation="process")
        def isolated(): return os.getcwd()
    """)
    folder = str(Path(project.folder / "data").resolve())
    with project.working():
        assert [project.result("plain"), project.result("isolated")] == [folder, folder]


@pytest.mark.parametrize("name", ["queue", "random", "uuid", "platform", "csv", "glob", "secrets", "select"])
def test_a_file_of_the_project_takes_no_place_of_a_module_that_a_worker_needs(project: Project, name: str) -> None:
    project.write("raise RuntimeError('it was imported')", name=f"{name}.py", head="")
    project.write("""
        @app.job
        def plain(): return 1

        @app.job(isolation="process")
        def isolated(): return 2
    """)
    with project.working() as worker:
        assert [project.result("plain"), project.result("isolated")] == [1, 2]
        assert "died" not in worker.log
