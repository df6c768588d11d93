"""The simulator: whole lives of jobs in a world without time, step by step from one seed, judged after every step.

Clients, runners, sweepers and schedulers take turns by chance; clocks leap and are set back; runners die, stall and
come back as zombies; operations are cut off or run twice. In the end everything heals, and every job must come to an
end. `python -m tests.faults.simulator --seed 7 --steps 100` repeats a run and prints its steps; `--decisions --runs
5000` tests only what decides without a store (lives, gates, turns, schedules), and is much faster.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import NamedTuple

from posthorse.clock import SECOND
from posthorse.errors import PosthorseError
from posthorse.store.admission import Admission
from tests.faults.simulation import snapshot
from tests.faults.simulation.actors import Client, Step, VirtualRunner, short
from tests.faults.simulation.decisions import DECIDERS
from tests.faults.simulation.judge import Judge, is_claimed, passes_dead
from tests.faults.simulation.keepers import Keepers
from tests.faults.simulation.kinds import FOCUSES, Focus, application
from tests.faults.simulation.reasons import reasons
from tests.faults.simulation.snapshot import Standing
from tests.faults.simulation.timelines import Timelines
from tests.faults.simulation.world import World

Turn = Callable[[], Step]


class Pace(NamedTuple):
    """How often things happen, in hundredths, and how time passes."""

    enqueue: int = 14
    steer: int = 8
    time: int = 18
    keep: int = 12
    schedule: int = 4
    come: int = 2
    leave: int = 2
    work: int = 40
    set_back: float = 0.05
    """The share of clock moves that set it back."""
    backs: Sequence[int] = (1, 60, 3600)
    leaps: Sequence[int] = (5, 40, 7200)
    """Seconds by which it moves at most: usually, now and then, and rarely."""


PACES: Mapping[Focus, Pace] = {
    "everything": Pace(),
    "turns": Pace(enqueue=18, steer=4, time=16, schedule=0),
    "long jobs": Pace(7, 5, 14, 18, 0, 6, 10, 40, leaps=(40, 5, 40)),
    "schedules": Pace(2, 4, 26, 6, 34, 2, 2, 24, set_back=0.2, backs=(60, 120, 300), leaps=(60, 300, 7200)),
}
STEPS = 100
MAX_RUNNERS = 4
ROUNDS = 400
"""How often all actors look after the world was healed, before the remaining jobs count as lost."""

LOOKS = 30
"""How often the schedules are looked at then."""

TOLD = 70
"""Steps that a red run prints."""


class Red(AssertionError):
    """A run in which something was wrong."""

    def __init__(
        self, seed: int, steps: int, problems: list[str], trail: list[str], focus: Focus | None = None
    ) -> None:
        self.seed = seed
        self.steps = steps
        self.focus = focus
        """What it was mostly busy with; None if chance decided."""
        self.problems = problems
        told = "\n  ".join(trail[-TOLD:])
        said = "" if focus is None else f" --focus '{focus}'"
        super().__init__(
            f"{'; '.join(problems[:5])}\n  {told}\nseed {seed}, {steps} steps; "
            f"again: python -m tests.faults.simulator --seed {seed} --steps {steps}{said}"
        )


class Done(NamedTuple):
    """The result of a run."""

    jobs: int
    claims: int
    trail: list[str]


class Simulation:
    """One run."""

    def __init__(self, seed: int, steps: int, focus: Focus | None = None) -> None:
        self._seed = seed
        self._given_focus = focus
        self._steps = steps
        self._world = World(seed)
        self._judge = Judge(self._world.clock)
        self._timelines = Timelines(self._world.store)
        drawn = self._world.chance.choice(FOCUSES)
        self._focus: Focus = focus or drawn
        self._pace = PACES[self._focus]
        self._client = Client(self._world, self._focus)
        self._runners: list[VirtualRunner] = []
        self._runner_count = 0
        self._seen = snapshot.EMPTY
        self._claims = 0
        self._changes = -1
        self.trail: list[str] = []

    def run(self) -> Done:
        """Run everything. Raises Red."""
        self._app = app = application()
        app.store = self._world.store
        app.gate = Admission(app.store, app.registry.queues)  # one of its own would read a real file
        with closing(self._world.store), self._world.standing_still():
            self._keepers = Keepers(self._world)
            for _ in range(self._steps):
                self._take(self._turn)
            self._heal()
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
            problems = self._judge.problems(step, self._seen)
            problems += self._timelines.problems(before, self._seen)
            for one in self._seen.changed(before)[:1]:
                problems += reasons(self._app, one, self._seen)
            if problems:
                raise Red(self._seed, min(len(self.trail), self._steps), problems, self.trail, self._given_focus)
        return step

    def _turn(self) -> Step:
        chance = self._world.chance
        self._runners = [runner for runner in self._runners if not runner.is_gone]
        for runner in self._runners:
            if runner.must_beat and chance.random() < 0.9:
                return runner.beat()
        awake = [runner for runner in self._runners if not runner.is_stalled]
        match chance.choices(Pace._fields[:8], self._pace[:8])[0]:
            case "enqueue":
                return self._client.enqueue()
            case "steer" if self._seen.jobs:
                return self._client.steer(list(self._seen.jobs))
            case "time":
                return self._pass_time(chance)
            case "keep":
                is_late = any(runner.is_overdue for runner in self._runners)
                return (
                    self._keepers.rescue_expired()
                    if chance.random() < (0.8 if is_late else 0.2)
                    else self._keepers.sweep()
                )
            case "schedule":
                return self._keepers.schedule()
            case "come" if len(awake) < MAX_RUNNERS:
                return self._begin_runner()
            case "leave" if awake:
                runner = chance.choice([runner for runner in awake if runner.holds_some] or awake)
                return chance.choice((runner.die, runner.end, runner.stall, runner.stall))()
        revived = [runner for runner in self._runners if runner.is_stalled and runner.is_overdue]
        if revived and chance.random() < 0.2:
            runner = chance.choice(revived)
            return runner.wake() if chance.random() < 0.2 else runner.turn()
        return chance.choice(awake).turn() if len(awake) > 1 else self._begin_runner()

    def _begin_runner(self) -> Step:
        self._runner_count += 1
        self._runners.append(VirtualRunner(self._world, f"r{self._runner_count}"))
        return Step(f"r{self._runner_count} begins")

    def _pass_time(self, chance: random.Random) -> Step:
        clock, pace = self._world.clock, self._pace
        if chance.random() < pace.set_back:
            back = chance.randrange(chance.choice(pace.backs) * SECOND)
            clock.set_back(back)
            return Step(f"the wall clock is set back by {back / SECOND:.1f} s")
        [longest] = chance.choices(pace.leaps, (70, 25, 5))
        micros = chance.randrange(longest * SECOND)
        clock.pass_by(micros)
        return Step(f"{micros / SECOND:.1f} s pass")

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────

    def _heal(self) -> None:
        """Remove all obstacles: all that lives goes on, and everything must come to an end."""
        self._world.store.is_faulty = False
        self._world.clock.set_right()
        for runner in self._runners:
            runner.is_gone = True
        self._keepers.leave_schedules()
        self._judged(Step("everything heals"))
        for _ in range(LOOKS if self._seen.schedules else 0):
            self._take(self._keepers.schedule)
            self._world.clock.pass_by(SECOND)
        if late := list(self._judge.timetable.late(self._seen)):
            raise Red(self._seed, self._steps, late, self.trail, self._given_focus)
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
            self._world.clock.pass_by(4 * SECOND)  # a sweeper that looks less often believes that it was held up
        told = ", ".join(f"{short(one.job.id)} ({one.job.kind}) is {one.shown}" for one in left)
        lost = f"I1, I11: never came to an end: {told}"
        raise Red(self._seed, self._steps, [lost], self.trail, self._given_focus)


def simulate(seed: int, steps: int = STEPS, focus: Focus | None = None) -> Done:
    """Do one run; without a focus, chance decides what it is mostly busy with. Raises Red."""
    return Simulation(seed, steps, focus).run()


def shrunk(red: Red) -> Red:
    """Return the shortest red run of the same seed: a run does not depend on how many steps follow."""
    steps = red.steps
    while (steps := min(red.steps, steps) - max(1, red.steps // 10)) >= 0:
        try:
            simulate(red.seed, steps, red.focus)
        except Red as shorter:
            red = shorter
        else:
            break
    return red


def main() -> int:
    """Return the exit code: 1 if a run was red."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.simulator", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="else drawn")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--focus", choices=FOCUSES, default=None, help="what it is busy with; else drawn")
    parser.add_argument("--runs", type=int, default=1, help="so many seeds, one after the other")
    parser.add_argument("--decisions", action="store_true", help="what decides without a store, alone: far more runs")
    wanted = parser.parse_args()
    first = random.randrange(10**9) if wanted.seed is None else wanted.seed
    if wanted.decisions:
        return _decide_alone(first, wanted.runs)
    began = time.monotonic()
    jobs = 0
    for seed in range(first, first + wanted.runs):
        try:
            done = simulate(seed, wanted.steps, wanted.focus)
        except Red as red:
            sys.stdout.write(f"{shrunk(red)}\n")
            return 1
        jobs += done.jobs
        if wanted.runs == 1:
            sys.stdout.write("\n".join(done.trail) + "\n")
    seconds = time.monotonic() - began
    sys.stdout.write(f"{wanted.runs} runs from seed {first}, {jobs} jobs, {seconds:.1f} s: nothing wrong\n")
    return 0


def _decide_alone(first: int, runs: int) -> int:
    for decide in DECIDERS:
        began = time.monotonic()
        for seed in range(first, first + runs):
            if problems := list(decide(random.Random(seed))):
                sys.stdout.write(f"{decide.__name__}, seed {seed}: {'; '.join(problems)}\n")
                return 1
        seconds = time.monotonic() - began
        sys.stdout.write(f"{decide.__name__}: {runs} runs from seed {first}, {seconds:.1f} s: nothing wrong\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
