"""The simulator: whole lives from one seed, operations interleaved statement by statement, and planted defects.

SQLite has one writer at a time, so its transactions are the steps; on PostgreSQL, statements are.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthorse.rules import gates
from posthorse.store.operations import unique
from posthorse.store.postgres.backend import PostgresBackend
from posthorse.store.sqlite import statements
from tests.faults.simulation import decisions
from tests.faults.simulation.interleaving import Interleaving
from tests.faults.simulation.kinds import Focus
from tests.faults.simulation.planted import STATEMENTS, Doctored
from tests.faults.simulation.races import Arena, Race
from tests.faults.simulator import STEPS, Red, shrunk, simulate

RUNS = 20
RACES = 25
MANY = int(os.environ.get("FAULTS_SIMULATIONS", "2000"))
MEETING = 3
"""Operations that meet in one race."""

FIRST_SEED = 1_000


# ── whole lives ──────────────────────────────────────────────────────────────────────────────────────


def test_whole_lives_keep_every_promise() -> None:
    jobs = sum(simulate(seed).jobs for seed in range(FIRST_SEED, FIRST_SEED + RUNS))
    assert jobs > 5 * RUNS  # something happened


RED_ONCE: dict[int, Focus | None] = {
    14: "long jobs",  # progress stood still after a checkpoint before the first slice
    17: "long jobs",
    30098: None,  # a job that had ended passed those that waited in its sequence when it was retried
}


@pytest.mark.parametrize("seed", RED_ONCE)
def test_lives_that_were_red_once_keep_every_promise(seed: int) -> None:
    simulate(seed, focus=RED_ONCE[seed])


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_many_whole_lives_keep_every_promise() -> None:
    first = random.randrange(10**9)
    for seed in range(first, first + MANY):
        simulate(seed, 2 * STEPS)


def test_a_run_is_the_same_again() -> None:
    assert simulate(7).trail == simulate(7).trail


@pytest.mark.parametrize(("decide", "runs"), decisions.DECIDERS.items())
def test_decisions_without_a_store_keep_every_promise(decide: decisions.Deciding, runs: int) -> None:
    for seed in range(runs):
        problems = list(decide(random.Random(seed)))
        assert not problems, f"seed {seed}: {problems[:3]}"


# ── races ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def arena(postgres_url: str) -> Iterator[Arena]:
    arena = Arena(postgres_url)
    yield arena
    arena.close()


def problems_of_races(arena: Arena, first: int, races: int) -> str | None:
    """Return what went wrong in the first race in which anything did."""

    async def hold() -> str | None:
        backend = arena.yard.store.backend
        assert isinstance(backend, PostgresBackend)
        interleaving = Interleaving(backend, arena.yard.store.url)
        await interleaving.open(MEETING)
        try:
            for seed in range(first, first + races):
                arena.empty()
                race = Race(arena, seed)
                race.set_the_stage()
                race.draw_moves(MEETING)
                answers, order = await interleaving.run([move.operation for move in race.moves], race.chance)
                if problems := [*race.judge(answers)] or [*race.work_off()]:
                    moves = "; ".join(f"{number}: {move.words}" for number, move in enumerate(race.moves))
                    return f"race {seed}: {problems[0]}\n  {moves}\n  turns {order}, limits {race.limits}"
            return None
        finally:
            await interleaving.close()

    return asyncio.run(hold())


def test_operations_that_meet_between_statements_keep_every_promise(arena: Arena) -> None:
    assert problems_of_races(arena, FIRST_SEED, RACES) is None


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_operations_that_meet_many_times_keep_every_promise(arena: Arena) -> None:
    assert problems_of_races(arena, random.randrange(10**9), MANY) is None


# ── it bites ─────────────────────────────────────────────────────────────────────────────────────────


def first_red(seed: int = 0, *, runs: int = 200, focus: Focus | None = None) -> Red:
    for each in range(seed, seed + runs):
        try:
            simulate(each, STEPS, focus)
        except Red as red:
            return red
    raise AssertionError(f"{runs} runs found nothing")


@pytest.mark.parametrize("defect", STATEMENTS)
def test_a_planted_defect_is_found(defect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = STATEMENTS[defect]
    monkeypatch.setattr(statements, "_queries", Doctored(statements.DIALECT, *planted.changes))
    problems = first_red(planted.seed, focus=planted.focus).problems
    assert any(re.match(planted.broken, problem) for problem in problems), problems


def test_a_rate_without_its_burst_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "tokens", lambda through, now, step, burst: (now + 9 * burst * step - through) // step)
    assert "I14" in str(first_red())
    assert any(problem.startswith("I14") for seed in range(100) for problem in decisions.gate(random.Random(seed)))


def test_an_identity_that_nobody_holds_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unique, "_holds", lambda *_: False)
    assert "I19" in str(first_red(12, focus="everything"))


def test_a_gate_that_is_not_locked_is_found(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = arena.yard.store.backend
    assert isinstance(backend, PostgresBackend)
    change = ("lock_gates", "FOR UPDATE", "")
    monkeypatch.setattr(backend, "queries", Doctored(backend.dialect, change))
    found = problems_of_races(arena, 0, 300)
    assert found is not None
    assert "I13" in found or "I18" in found


def test_a_red_run_tells_its_seed_and_is_made_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = STATEMENTS["a promotion that forgets jobs"].changes
    monkeypatch.setattr(statements, "_queries", Doctored(statements.DIALECT, *changes))
    red = first_red()
    shorter = shrunk(red)
    assert shorter.steps <= red.steps
    assert f"python -m tests.faults.simulator --seed {red.seed} --steps {shorter.steps}" in str(shorter)


def simulator(*arguments: str) -> str:
    """Return what the command prints."""
    told = subprocess.run(
        [sys.executable, "-m", "tests.faults.simulator", *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return told.stdout


def test_the_command_tells_what_happened() -> None:
    assert "1 runs from seed 7" in simulator("--seed", "7", "--steps", "20")


def test_the_command_decides_without_a_store() -> None:
    told = simulator("--decisions", "--seed", "7", "--runs", "20")
    assert re.findall(r"(\w+): 20 runs from seed 7", told) == ["life", "gate", "turns", "schedule"]
