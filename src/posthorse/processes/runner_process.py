"""A runner as its supervisor sees it: a process on a control pipe, from its start to its end."""

from __future__ import annotations

import asyncio
import os
import uuid

import msgspec

from posthorse.clock import monotonic
from posthorse.processes.control_pipe import ControlPipe, Message
from posthorse.processes.plan import RunnerPlan, WorkerPlan
from posthorse.worker.base.launch import command
from posthorse.worker.base.process import is_stopped, kill_group
from posthorse.worker.heartbeat import Pulse

RUNNER = "posthorse.processes.runner"


class RunnerProcess:
    """One runner process, from its start to its end."""

    def __init__(
        self, number: int, runner: str, process: asyncio.subprocess.Process, control_pipe: ControlPipe
    ) -> None:
        self.number = number
        """Its place among the runners of its supervisor."""
        self.runner = runner
        """Its id: that of this incarnation."""
        self.process = process
        self.control_pipe = control_pipe
        self.started_at = monotonic()
        self.heard_at = self.started_at
        self.running = 0
        self.pulse: Pulse | None = None
        self.max_crashes: dict[str, int] = {}
        self.isolated = frozenset[str]()
        """Kinds whose jobs do not run in the runner's own process: its death is none of their doing."""
        self.was_ready = False
        """True once it could take jobs."""
        self.freed = 0
        """How many of its jobs were freed after its end."""
        self.is_leaving = False
        """True once it has left its jobs behind; what comes then is silent."""
        self.ended = asyncio.Event()

    @classmethod
    async def start(
        cls, number: int, worker: str, assignment: WorkerPlan, *, backend: str, is_quarantine: bool
    ) -> RunnerProcess:
        """Starts one. Raises OSError."""
        control_pipe, theirs = ControlPipe.pair()
        plan = RunnerPlan(
            assignment=assignment,
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
                cwd=assignment.folder,
            )
        except OSError:
            control_pipe.close()
            raise
        finally:
            theirs.close()
        return cls(number, plan.runner, process, control_pipe)

    @property
    def is_stopped(self) -> bool:
        """True when it cannot work, whatever its lease says."""
        return is_stopped(self.process.pid)

    @property
    def silence(self) -> float:
        """Seconds since it was last heard."""
        return monotonic() - self.heard_at

    def kill(self) -> None:
        """Kills it, and all that its jobs left in its group."""
        kill_group(self.process.pid)

    def renew(self, until: float) -> None:
        """Tells the runner until when its lease holds: the monotonic clock is one for all processes of a machine."""
        self.control_pipe.send(lease_until=until)

    def hear(self, message: Message) -> None:
        """What the runner says of itself."""
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
