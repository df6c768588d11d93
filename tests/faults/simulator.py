"""The simulator: whole lives of jobs in a world without time, step by step from one seed, judged after every step.

Clients, runners, sweepers and schedulers take turns as chance has it; clocks leap and are set back; runners die, stall
and come back as zombies; operations are cut off or told twice. In the end everything heals, and every job has to come
to an end. `python -m tests.faults.simulator --seed 7 --steps 100` runs one of them again and tells its steps.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from posthorse.clock import SECOND
from posthorse.errors import PosthorseError
from tests.faults.simulation import snapshot
from tests.faults.simulation.actors import Client, Keepers, Step, VirtualRunner, short
from tests.faults.simulation.judge import Judge, is_claimed, passes_dead
from tests.faults.simulation.kinds import application
from tests.faults.simulation.snapshot import Standing
from tests.faults.simulation.world import World

Turn = Callable[[], Step]

STEPS = 100
MOST_RUNNERS = 4
ROUNDS = 400
"""How often everybody looks after the world was healed, before what is left counts as lost."""

TOLD = 70
"""Steps that a red run tells."""


class Red(AssertionError):
    """A run in which something was wrong."""

    def __init__(self, seed: int, steps: int, problems: list[str], trail: list[str]) -> None:
        self.seed = seed
        self.steps = steps
        self.problems = problems
        told = "\n  ".join(trail[-TOLD:])
        super().__init__(
            f"{'; '.join(problems[:5])}\n  {told}\nseed {seed}, {steps} steps; "
            f"again: python -m tests.faults.simulator --seed {seed} --steps {steps}"
        )


class Done(NamedTuple):
    """What a run came to."""

    jobs: int
    claims: int
    trail: list[str]


class Simulation:
    """One run."""

    def __init__(self, seed: int, steps: int) -> None:
        self._seed = seed
        self._steps = steps
        self._world = World(seed)
        self._judge = Judge(self._world.clock)
        self._client = Client(self._world)
        self._runners: list[VirtualRunner] = []
        self._runner_count = 0
        self._seen = snapshot.EMPTY
        self._claims = 0
        self._changes = -1
        self.trail: list[str] = []

    def run(self) -> Done:
        """The whole of it. Raises Red."""
        app = application()
        app.store = self._world.store
        app.gate.look_again()
        with self._world.standing_still():
            self._keepers = Keepers(self._world)
            for _ in range(self._steps):
                self._take(self._turn)
            self._heal()
        self._world.store.close()
        return Done(len(self._seen.jobs), self._claims, self.trail)

    # ── one step ─────────────────────────────────────────────────────────────────────────────────────

    def _take(self, turn: Turn) -> Step:
        try:
            step = turn()
        except PosthorseError as error:
            step = Step(f"{getattr(turn, '__qualname__', 'somebody')}: {error}")
        return self._judged(step)

    def _judged(self, step: Step) -> Step:
        self.trail.append(f"{len(self.trail)}: {self._world.clock.shift / SECOND:.1f} {step.text}")
        changes = self._world.store.connection.total_changes
        if changes != self._changes:
            self._changes = changes
            before, self._seen = self._seen, snapshot.look(self._world.store.connection)
            self._claims += sum(is_claimed(one, before) for one in self._seen.jobs.values())
            if problems := self._judge.problems(step, self._seen):
                raise Red(self._seed, min(len(self.trail), self._steps), problems, self.trail)
        return step

    def _turn(self) -> Step:
        chance, world = self._world.chance, self._world
        self._runners = [runner for runner in self._runners if not runner.is_gone]
        for runner in self._runners:
            if runner.must_beat and chance.random() < 0.9:
                return runner.beat()
        drawn = chance.random()
        if drawn < 0.14:
            return self._client.enqueue()
        if drawn < 0.22 and self._seen.jobs:
            return self._client.steer(list(self._seen.jobs))
        if drawn < 0.40:
            return self._pass_time(chance)
        if drawn < 0.52:
            return self._keepers.sweep() if chance.random() < 0.6 else self._keepers.bury()
        if drawn < 0.56:
            return self._keepers.schedule()
        if len(self._runners) < 2 or (drawn < 0.58 and len(self._runners) < MOST_RUNNERS):
            self._runner_count += 1
            self._runners.append(VirtualRunner(world, f"r{self._runner_count}"))
            return Step(f"r{self._runner_count} begins")
        runner = chance.choice(self._runners)
        if drawn < 0.60:
            return chance.choice((runner.die, runner.end, runner.stall))()
        if runner.is_stalled and chance.random() < 0.2:
            return runner.wake()
        return runner.turn()

    def _pass_time(self, chance: random.Random) -> Step:
        clock = self._world.clock
        drawn = chance.random()
        if drawn < 0.05:
            back = chance.randrange(chance.choice((1, 60, 3600)) * SECOND)
            clock.set_back(back)
            return Step(f"the wall clock is set back by {back / SECOND:.1f} s")
        longest = 5 if drawn < 0.7 else 40 if drawn < 0.95 else 7200
        micros = chance.randrange(longest * SECOND)
        clock.pass_by(micros)
        return Step(f"{micros / SECOND:.1f} s pass")

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────

    def _heal(self) -> None:
        """Nobody is in the way any more: what is alive goes on, and everything has to come to an end."""
        self._world.store.is_faulty = False
        self._world.clock.set_right()
        for runner in self._runners:
            runner.is_gone = True
        self._judged(Step("everything heals"))
        healer = VirtualRunner(self._world, "healer", room=20)
        left: list[Standing] = []
        for _ in range(ROUNDS):
            left = [one for one in self._seen.jobs.values() if not one.job.is_over]
            if not left:
                return
            for one in self._seen.jobs.values():
                if one.job.state == "paused":
                    self._take(partial(self._client.ask, one.job.id, "resume"))
                elif one.job.state == "failed" and not passes_dead(one.job):
                    self._take(partial(self._client.ask, one.job.id, "discard"))
            for turn in (healer.beat, healer.claim, healer.finish, healer.leave, self._keepers.sweep):
                self._take(turn)
            self._world.clock.pass_by(4 * SECOND)  # a sweeper that looks less often thinks that it was held up
        told = ", ".join(f"{short(one.job.id)} ({one.job.kind}) is {one.shown}" for one in left)
        raise Red(self._seed, self._steps, [f"I1, I11: never came to an end: {told}"], self.trail)


def simulate(seed: int, steps: int = STEPS) -> Done:
    """One run. Raises Red."""
    return Simulation(seed, steps).run()


def shrunk(red: Red) -> Red:
    """The shortest run of the same seed that is red: what happens in a run does not depend on how many steps follow."""
    steps = red.steps
    while (steps := min(red.steps, steps) - max(1, red.steps // 10)) >= 0:
        try:
            simulate(red.seed, steps)
        except Red as shorter:
            red = shorter
        else:
            break
    return red


def main() -> int:
    """The exit code: 1 when a run was red."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.simulator", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="else drawn")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--runs", type=int, default=1, help="so many seeds, one after the other")
    wanted = parser.parse_args()
    first = random.randrange(10**9) if wanted.seed is None else wanted.seed
    began = time.monotonic()
    jobs = 0
    for seed in range(first, first + wanted.runs):
        try:
            done = simulate(seed, wanted.steps)
        except Red as red:
            sys.stdout.write(f"{shrunk(red)}\n")
            return 1
        jobs += done.jobs
        if wanted.runs == 1:
            sys.stdout.write("\n".join(done.trail) + "\n")
    seconds = time.monotonic() - began
    sys.stdout.write(f"{wanted.runs} runs from seed {first}, {jobs} jobs, {seconds:.1f} s: nothing wrong\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
