"""A follower of a job sees all of its life, whichever processes of its worker are killed meanwhile."""

from __future__ import annotations

import signal
import threading
from itertools import pairwise

import posthorse as ph
from tests.crash.application import exact
from tests.crash.harness import SHORT_LEASE, Crash, wait_for

COUNT, SIZE, SECONDS = 60, 5, 0.05


class Follower:
    """A thread that reads the events of a job until it is over, and now and then begins a new iteration."""

    def __init__(self, job: ph.Job[int]) -> None:
        self.told: list[ph.Event] = []
        self.progress: list[int] = []
        self.iterations = 0
        self._job = job
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def wait(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _follow(self) -> None:
        while not self.told or self.told[-1].name != "completed":
            self.iterations += 1
            for event in self._job.events(self.told[-1].number if self.told else 0, follow=True):
                if isinstance(event, ph.events.Progressed):
                    self.progress.append(event.progress.done)
                else:
                    self.told.append(event)
                    if event.name in ("crashed", "lost"):
                        break  # cut off, and resumed by number


def test_a_follower_sees_every_step_while_runners_and_whole_workers_are_killed(crash: Crash) -> None:
    job = exact.enqueue(COUNT, SIZE, SECONDS)
    follower = Follower(job)
    worker = crash.start(lease=SHORT_LEASE)
    for count in (1, 2):
        mark = crash.wait_for_mark(job.id, "begin", count=count)
        crash.wait_for_mark(job.id, "in", count=count)
        [runner] = [each for each in worker.runners if each.pid == mark.pid]
        crash.kill(runner)
    crash.wait_for_mark(job.id, "begin", count=3)
    worker.kill_tree()
    crash.start(lease=SHORT_LEASE)
    crash.drain([job])
    follower.wait()
    crash.check_exact(job, COUNT)
    crash.check()
    names = [event.name for event in follower.told]
    assert names[0] == "submitted"
    assert names[-1] == "completed"
    assert names.count("crashed") + names.count("lost") >= 3
    assert names.count("started") == names.count("crashed") + names.count("lost") + 1
    assert [event.number for event in follower.told] == list(range(1, len(names) + 1))
    assert names == [event.name for event in job.events()]
    assert follower.iterations == 1 + names.count("crashed") + names.count("lost")
    assert all(later >= earlier for earlier, later in pairwise(follower.progress))


def test_a_worker_that_stops_before_it_started_a_job_takes_no_number_away(sqlite_crash: Crash) -> None:
    crash = sqlite_crash
    jobs = [exact.enqueue(40, 5, 0.05) for _ in range(12)]
    followers = [Follower(job) for job in jobs]
    worker = crash.start(concurrency=2)
    crash.wait_for_mark(jobs[0].id, "in")
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    crash.start(concurrency=8)
    crash.drain(jobs)
    for job, follower in zip(jobs, followers, strict=True):
        follower.wait()
        told = [event.number for event in follower.told]
        assert told == list(range(1, len(told) + 1))
        assert [event.number for event in job.events()] == told
    wait_for(lambda: all(job.status().state == "completed" for job in jobs), "the ends")
    crash.check()
