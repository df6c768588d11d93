"""Isolation and its cost: starting a child, the way to a warm one and back, and the memory of both processes.

`python -m bench.isolation`. The jobs are in a new SQLite file.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time

import psutil

import posthorse as ph

app = ph.Posthorse("sqlite:///never-used.db")


@app.job(isolation="process")
def isolated() -> int:
    return os.getpid()


@app.job
def threaded() -> int:
    return os.getpid()


def measure(jobs: int) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        app.use_url(f"sqlite:///{folder}/jobs.db")
        starts = [_cold() for _ in range(5)]
        with app.worker(concurrency=1):
            isolated.enqueue().result()
            threaded.enqueue().result()
            apart, here = _each(isolated, jobs), _each(threaded, jobs)
            child = isolated.enqueue().result()
            reaper = psutil.Process(child).ppid()
            memory = {"the reaper": reaper, "the child, with this small application": child}
            print(f"first job in a cold child           {statistics.median(starts) * 1000:8.1f} ms")
            print(f"a job in a warm child               {apart * 1000:8.2f} ms")
            print(f"the same in a thread                {here * 1000:8.2f} ms")
            for name, pid in memory.items():
                print(f"memory of {name:26}{_held(pid) / 1_000_000:8.1f} MB")
        app.close()


def _cold() -> float:
    with app.worker(concurrency=1):
        threaded.enqueue().result()
        began = time.perf_counter()
        isolated.enqueue().result()
        return time.perf_counter() - began


def _each(kind: ph.Kind[[], int], jobs: int) -> float:
    """Return the seconds from one end to the next, one job at a time, with the next one claimed meanwhile."""
    app.enqueue_many([kind.bind()] * (jobs - 1))
    last = kind.bind()
    began = time.perf_counter()
    last.enqueue().result()
    return (time.perf_counter() - began) / jobs


def _held(pid: int) -> int:
    """Return the bytes that the process uses alone; mapped files belong to all processes that map them."""
    memory = psutil.Process(pid).memory_full_info()
    return memory.uss + memory.swap


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.isolation")
    parser.add_argument("--jobs", type=int, default=2000)
    measure(parser.parse_args().jobs)
