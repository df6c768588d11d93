"""The supervisor's handle of a runner process, from its start to its end."""

from __future__ import annotations

import asyncio
import os
import uuid

import msgspec

from posthorse.clock import monotonic
from posthorse.processes.control_pipe import ControlPipe, Message
from posthorse.processes.plan import RunnerPlan, WorkerPlan
from posthorse.rules.job import Lane
from posthorse.worker.base.launch import command
from posthorse.worker.base.process import is_stopped, kill_group
from posthorse.worker.heartbeat import Pulse

RUNNER = "posthorse.processes.runner"


class RunnerProcess:
    """A runner process with its control pipe."""

    def __init__(
        self, number: int, runner: str, process: asyncio.subprocess.Process, control_pipe: ControlPipe
    ) -> None:
        self.number = number
        """Its number among the runners of its supervisor."""
        self.runner = runner
        """The id of this incarnation."""
        self.process = process
        self.control_pipe = control_pipe
        self.started_at = monotonic()
        self.heard_at = self.started_at
        self.running = 0
        self.pulse: Pulse | None = None
        self.max_crashes: dict[str, int] = {}
        self.isolated = frozenset[str]()
        """Kinds whose jobs run in child processes, so they cannot have caused its death."""
        self.was_ready = False
        """True once it was ready for jobs."""
        self.freed: list[Lane] = []
        """The lanes of its jobs that were freed after its end."""
        self.is_leaving = False
        """True once it has finished with its jobs; after that it sends nothing."""
        self.ended = asyncio.Event()

    @classmethod
    async def start(
        cls, number: int, worker: str, worker_plan: WorkerPlan, *, backend: str, is_quarantine: bool
    ) -> RunnerProcess:
        """Start a runner process. Raises OSError."""
        control_pipe, theirs = ControlPipe.pair()
        plan = RunnerPlan(
            worker_plan=worker_plan,
            runner=str(uuid.uuid4()),
            worker=worker,
            parent=os.getpid(),
            is_quarantine=is_quarantine,
            backend=backend,
        )
        try:
            if not control_pipe.send(plan=plan):
                raise OSError("what it must do is longer than a socket takes; name fewer queues and labels")
            process = await asyncio.create_subprocess_exec(
                *command(RUNNER, theirs.fileno()),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                stdin=asyncio.subprocess.DEVNULL,
                cwd=worker_plan.folder,
            )
        except OSError:
            control_pipe.close()
            raise
        finally:
            theirs.close()
        return cls(number, plan.runner, process, control_pipe)

    @property
    def is_stopped(self) -> bool:
        """True if the process is stopped and cannot work, whatever its lease says."""
        return is_stopped(self.process.pid)

    @property
    def silence(self) -> float:
        """Seconds since its last message."""
        return monotonic() - self.heard_at

    def kill(self) -> None:
        """Kill it, and all processes that its jobs left in its group."""
        kill_group(self.process.pid)

    def renew(self, until: float) -> None:
        """Tell the runner until when its lease holds; all processes of a machine share the monotonic clock."""
        self.control_pipe.send(lease_until=until)

    def hear(self, message: Message) -> None:
        """Note what the runner reports about itself."""
        self.heard_at = monotonic()
        if "running" in message:
            self.running = int(str(message["running"]))
        if "leaving" in message:
            self.is_leaving = True
            if self.pulse is not None:
                self.pulse.is_leaving = True
        if "ready" in message:
            self.was_ready = True
            self.max_crashes = msgspec.convert(message["max_crashes"], dict[str, int])
            self.isolated = msgspec.convert(message["isolated"], frozenset[str])
