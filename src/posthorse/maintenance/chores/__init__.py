"""Chores: the periodic tasks of the sweep. A new one is a module here, and a line in `all_chores`."""

from __future__ import annotations

from collections.abc import Sequence

from posthorse.maintenance.chores.base import Chore
from posthorse.maintenance.chores.expired_keys import ForgetExpiredKeys
from posthorse.maintenance.chores.figures import FoldFigures, SampleDepths
from posthorse.maintenance.chores.gates import TendGates
from posthorse.maintenance.chores.joins import MakeRooms, ReleaseWaiting, SteerFamilies
from posthorse.maintenance.chores.lanes import EnterLanes
from posthorse.maintenance.chores.line_up import LineUpDueJobs
from posthorse.maintenance.chores.rescue import RescueFromSilentWorkers
from posthorse.maintenance.chores.signals import TendSignals
from posthorse.rules.lifecycle import Policy
from posthorse.rules.packing import PLAIN, Packing
from posthorse.store.store import Store


def all_chores(
    store: Store, *, lease: float, policy: Policy, of_workers: Sequence[Chore] = (), packing: Packing = PLAIN
) -> list[Chore]:
    """Make the chores of one process, in the order in which a turn runs them; `of_workers` come last."""
    return [
        LineUpDueJobs(store),
        SteerFamilies(store, packing),
        MakeRooms(store),
        ReleaseWaiting(store),
        TendGates(store),
        RescueFromSilentWorkers(store, lease=lease, policy=policy),
        ForgetExpiredKeys(store),
        TendSignals(store),
        EnterLanes(store),
        SampleDepths(store),
        FoldFigures(store),
        *of_workers,
    ]
