"""Planted defects in statements, to see that they are found: a word of the project's SQL is replaced by another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from posthorse.store.queries import Dialect, Queries
from tests.faults.simulation.kinds import Focus


class Planted(NamedTuple):
    """A defect: how the message about it begins, where it shows most, and what is changed in which statements.

    The search begins at `seed`: from the first on, that which found it would come late.
    """

    broken: str
    focus: Focus | None
    changes: Sequence[tuple[str, str, str]]
    seed: int = 0


STATEMENTS: Mapping[str, Planted] = {
    "a completion without its fence": Planted(
        "I5", "long jobs", [("complete", "AND l.epoch = :epoch AND l.runner = :runner", "")], seed=60
    ),
    "a slice without its fence": Planted(
        "I[59]", "long jobs", [("checkpoint", "AND epoch = :epoch AND runner = :runner", "")], seed=25
    ),
    "a slice that nobody has to hold a job for": Planted(
        "I[59]",
        "long jobs",
        [
            (
                "checkpoint",
                "FROM @leases WHERE job = :job AND epoch = :epoch AND runner = :runner",
                "FROM (SELECT :job AS job, :epoch AS epoch) AS @leases WHERE true",
            )
        ],
    ),
    "a claim that raises no epoch": Planted(
        "I4", None, [(name, "epoch + 1", "epoch") for name in ("claim", "claim_together", "claim_places")]
    ),
    "a promotion that forgets jobs": Planted(
        "I1", None, [("promote", "FROM json_each(:picked) p", "FROM json_each('[]') p")]
    ),
    "a promotion before the time": Planted(
        "I10", None, [("promote", "due_at <= :now", "due_at <= :now + 60000000")], seed=3
    ),
    "slots that nobody counts": Planted(
        "I1[38]", None, [("gate_states", "(SELECT count(*) FROM @taken WHERE gate = r.gate)", "0")]
    ),
    "a sequence that runs backwards": Planted("I18", "turns", [("join_sequences", "max(j.seq, 1", "min(-j.seq, 1")]),
    "a limit that lets the last in first": Planted(
        "I18",
        "turns",
        [
            (
                "jobs_at",
                "(SELECT place FROM @sequences WHERE job = found.job)",
                "coalesce((SELECT place FROM @sequences WHERE job = found.job), -found.seq)",
            )
        ],
    ),
    "times of schedules that are not kept": Planted(
        "I17", "schedules", [("take_fires", "DO NOTHING", "DO UPDATE SET fired_at = excluded.fired_at")], seed=12
    ),
    "times of schedules that are forgotten at once": Planted(
        "I17", "schedules", [("forget_fires", "due_at < :before AND fired_at < :before", "true")], seed=12
    ),
    "an event that is not recorded": Planted(
        "I20",
        None,
        [
            (
                "record",
                "VALUES (:job, :version, :now, :name, :detail)",
                "SELECT :job, :version, :now, :name, :detail WHERE false",
            )
        ],
    ),
    "a job that is given back under no number": Planted(
        "I20", None, [("give_back", "version = version + 1", "version = version")]
    ),
    "a schedule that two deal with": Planted("I17", "schedules", [("pass_schedule", "AND through = :known", "")]),
}


class Doctored(Queries):
    """The statements of a dialect, some of them with a defect: (name, original text, changed text)."""

    def __init__(self, dialect: Dialect, *changes: tuple[str, str, str]) -> None:
        super().__init__(dialect)
        for name, said, says in changes:
            if said not in self._sources[name]:
                raise AssertionError(f"{name} does not say {said!r} any more; plant the defect anew")
            self._sources[name] = self._sources[name].replace(said, says)
