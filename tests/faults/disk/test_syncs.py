"""Syncs that fail, and power that fails after them: what was acknowledged exists, and what was not is reported."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.faults.disk.failing import FailingDisk
from tests.faults.disk.submitter import Reply, Submitter
from tests.store.yard import Yard

CUTS, CHECKPOINT_KILLS = 4, 6
BIG = 50
"""Jobs in one commit."""
SOON = "wal_autocheckpoint = 60"
"""In pages: every few commits cause a checkpoint."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory, if there is one: the failing disk decides what is synced, so real syncs are not
    needed."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="posthorse-", dir=memory) as folder:
        yield Path(folder)


@pytest.fixture
def disk(place: Path) -> FailingDisk:
    return FailingDisk(place / "disk")


@pytest.fixture
def store(place: Path) -> Path:
    (place / "store").mkdir()
    return place / "store" / "jobs.db"


def stored(store: Path) -> set[str]:
    """Return the ids of all jobs in a sound store."""
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        found = {str(id) for (id,) in connection.execute("SELECT id FROM posthorse_jobs")}
    yard = Yard(f"sqlite:///{store}")
    yard.audit()
    yard.store.close()
    return found


# ── syncs that fail ──────────────────────────────────────────────────────────────────────────────────


def test_a_submit_whose_sync_fails_is_not_acknowledged_and_says_why(disk: FailingDisk, store: Path) -> None:
    """F34. The process goes on when the disk does, and then the result of the failed call is certain."""
    with Submitter(store, disk.environment) as submitter:
        before = submitter.enqueue().ids
        disk.fail_syncs("-wal")
        for _ in range(2):
            failed = submitter.enqueue()
            assert failed.error == "OutcomeUnknown"
            assert "disk I/O error" in failed.words
            assert "it is unknown whether it happened" in failed.words
            assert "ask again with the same id or key" in failed.words
        disk.heal()
        after = submitter.enqueue().ids
    assert stored(store) == {*before, *after}


def test_a_submit_whose_sync_failed_may_turn_up_after_a_crash_and_its_key_finds_it(
    disk: FailingDisk, store: Path
) -> None:
    """F34, I2, I3: the commit is in the log, and recovering the log brings it back. So the error did not deny it."""
    with Submitter(store, disk.environment) as submitter:
        before = submitter.enqueue().ids
        disk.fail_syncs("-wal")
        assert submitter.enqueue(key="invoice-7").error == "OutcomeUnknown"
    disk.heal()
    [ghost] = stored(store) - set(before)
    with Submitter(store, disk.environment) as submitter:
        assert submitter.enqueue(key="invoice-7").ids == [ghost]
    assert stored(store) == {*before, ghost}


def test_a_checkpoint_whose_sync_fails_costs_no_commit(disk: FailingDisk, store: Path) -> None:
    """F34: the log stays until its pages are safe in the file."""
    with Submitter(store, disk.environment, SOON) as submitter:
        acknowledged = submitter.enqueue().ids
        disk.fail_syncs("jobs.db")
        for _ in range(6):
            acknowledged += submitter.enqueue(BIG).ids
        disk.heal()
        acknowledged += submitter.enqueue().ids
    assert stored(store) == set(acknowledged)


# ── power that fails ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cuts", [CUTS, pytest.param(100, marks=[pytest.mark.soak, pytest.mark.timeout(0)])])
def test_whatever_was_not_synced_may_vanish_and_nothing_acknowledged_is_lost(
    disk: FailingDisk, store: Path, cuts: int
) -> None:
    """F36: two processes commit, the power is cut meanwhile, and each file is set back to its last sync."""
    chance = random.Random(36)
    acknowledged: set[str] = set()
    for _ in range(cuts):
        acknowledged |= _until_the_power_is_cut(disk, store, chance, SOON)
        assert acknowledged <= stored(store)
    assert len(acknowledged) > cuts * BIG


def test_power_cuts_of_the_test_lose_what_a_store_without_full_syncs_acknowledged(
    disk: FailingDisk, store: Path
) -> None:
    """F36: this shows that the test before it can fail."""
    with Submitter(store, disk.environment) as submitter:  # the schema, and a complete checkpoint at the end
        assert submitter.enqueue().error is None
    acknowledged = _until_the_power_is_cut(disk, store, random.Random(36), "synchronous = NORMAL", large=1)
    assert not acknowledged <= stored(store)


def _until_the_power_is_cut(
    disk: FailingDisk, store: Path, chance: random.Random, pragma: str, *, large: int = BIG
) -> set[str]:
    disk.keep_what_is_synced(store)
    replies: list[Reply | None] = []
    with ExitStack() as open_until_then:
        submitters = [open_until_then.enter_context(Submitter(store, disk.environment, pragma)) for _ in range(2)]
        replies += [submitter.enqueue() for submitter in submitters]
        for submitter in submitters:
            for _ in range(40):
                submitter.ask(chance.choice([1, 1, large]))
        for _ in range(chance.randint(1, 12)):
            replies.append(chance.choice(submitters).answer())
        for submitter in submitters:
            submitter.kill()
        for submitter in submitters:  # what they reported before they died counts
            while (reply := submitter.answer()) is not None:
                replies.append(reply)
        disk.cut_power(store)
    return {id for reply in replies if reply is not None for id in reply.ids}


# ── death in a checkpoint ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "kills", [CHECKPOINT_KILLS, pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.timeout(0)])]
)
def test_a_process_killed_in_a_checkpoint_leaves_a_sound_file(disk: FailingDisk, store: Path, kills: int) -> None:
    """F37: only checkpoints write to the file itself, so it dies in one of their writes, which is left half done."""
    chance = random.Random(37)
    acknowledged: set[str] = set()
    for _ in range(kills):
        with Submitter(store, disk.environment, SOON) as submitter:
            acknowledged |= set(submitter.enqueue().ids)
            disk.kill_in_write("jobs.db", chance.randint(1, 60))
            submitter.ask(BIG)
            while (reply := submitter.answer()) is not None:
                acknowledged |= set(reply.ids)
                submitter.ask(BIG)
            assert submitter.wait() == -signal.SIGKILL
        disk.spare()
        assert acknowledged <= stored(store)
