"""Figures that the processes of a worker write: beside each other, and when one of them is killed."""

from __future__ import annotations

from tests.project import Project
from tests.waiting import until_state

SHOP = """
from pathlib import Path


@app.job
def plain():
    pass


@app.job
def deadly():
    if not Path("killed").exists():
        Path("killed").touch()
        os.kill(os.getpid(), 9)
"""


def test_processes_count_side_by_side_and_write_when_they_stop(project: Project) -> None:
    project.write(SHOP)
    jobs = [project.job("plain") for _ in range(200)]
    with project.working("--processes", "2") as worker:
        for job in jobs:
            until_state(job, "completed")
        assert worker.stop() == 0
    [row] = project.client.figures().rows
    assert (row.key, row.started, row.completed) == ("plain", 200, 200)


def test_a_killed_runner_loses_figures_of_a_moment_and_no_job(project: Project) -> None:
    project.write(SHOP)
    job = project.job("deadly")
    with project.working() as worker:
        until_state(job, "completed")
        assert project.job("plain").result(timeout=60) is None
        assert worker.stop() == 0
    rows = {row.key: row for row in project.client.figures().rows}
    assert (rows["deadly"].lost, rows["deadly"].completed) == (1, 1)
    assert rows["deadly"].started <= 2  # the first start may be lost with its runner
    assert (rows["plain"].started, rows["plain"].completed) == (1, 1)
