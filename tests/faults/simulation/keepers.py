"""Keepers of the store of a simulated world, with the project's own code. Each turn is one step."""

from __future__ import annotations

from collections.abc import Coroutine

from posthorse.clock import SECOND
from posthorse.maintenance.chores import all_chores
from posthorse.maintenance.chores.base import Chore
from posthorse.maintenance.chores.figures import FoldFigures, SampleDepths
from posthorse.maintenance.chores.rescue import rescue
from posthorse.maintenance.schedules import Scheduler
from posthorse.maintenance.sweep import Sweeper
from posthorse.rules.lifecycle import Policy
from posthorse.rules.outcomes import Lost
from posthorse.store.operations.runners import orphans, rescue_expired
from tests.faults.simulation.actors import LEASE, Step
from tests.faults.simulation.kinds import application
from tests.faults.simulation.world import World, at_once


def _chores(world: World, lease: float, policy: Policy) -> list[Chore]:
    """Return the chores that move jobs. Nothing here judges figures, and their chores take turns from others."""
    chores = all_chores(world.store, lease=lease, policy=policy)
    return [chore for chore in chores if not isinstance(chore, SampleDepths | FoldFigures)]


class Keepers:
    """Two sweepers, of which one leads, and two schedulers without a leader."""

    def __init__(self, world: World) -> None:
        self._world = world
        policy = Policy(max_interruptions=10)
        lease = LEASE / SECOND
        self._sweepers = [
            Sweeper(world.store, name, _chores(world, lease, policy), lease=lease) for name in ("s1", "s2")
        ]
        registry = application().registry
        self._schedulers = [Scheduler(world.store, registry.schedules, registry.queues) for _ in range(2)]
        self._looks: dict[int, Coroutine[object, object, float]] = {}
        """Schedulers that have read what is due and have not written yet."""

    def sweep(self) -> Step:
        """Let one sweeper look."""
        number = self._world.chance.randrange(2)
        at_once(self._sweepers[number]._turn())
        return Step(f"sweeper {number} looks")

    def rescue_expired(self) -> Step:
        """Give up every runner that is silent for longer than a lease, at once; its jobs go on."""
        store = self._world.store
        rescued = store.run(rescue_expired(grace=0))
        for held in store.read(orphans(100)):
            at_once(rescue(store, held, Lost("gone"), Policy(max_interruptions=10)))
        return Step(f"{len(rescued)} are rescued")

    def schedule(self) -> Step:
        """Let one scheduler look, up to its write: others may come first before it goes on."""
        number = self._world.chance.randrange(2)
        look = self._looks.pop(number, None) or self._schedulers[number].turn()
        try:
            look.send(None)
        except StopIteration:
            return Step(f"scheduler {number} looked")
        self._looks[number] = look
        return Step(f"scheduler {number} sees that something is due")

    def leave_schedules(self) -> None:
        """Forget what the schedulers have read, as when their processes die."""
        for look in self._looks.values():
            look.close()
        self._looks.clear()
