"""Each known mistake is noticed by the test that is named for it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.faults.mutations import FAILED, ROOT, Mutation, mutations, plant, run_test

MUTATIONS = mutations()
NAMES = [mutation.name for mutation in MUTATIONS]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=NAMES)
def test_a_mutation_still_finds_its_place_and_its_test(mutation: Mutation) -> None:
    """If code or tests were rewritten, the table must be, too: otherwise it would no longer prove anything."""
    assert mutation.before != mutation.after
    assert mutation.occurrences == 1, f"{mutation.file} has its text {mutation.occurrences} times"
    file, _, name = mutation.test.partition("::")
    assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text(encoding="utf-8"), f"no test {mutation.test}"


def test_mutations_have_names_of_their_own() -> None:
    assert [name for name, count in Counter(NAMES).items() if count > 1] == []


@pytest.mark.soak
@pytest.mark.parametrize("mutation", MUTATIONS, ids=NAMES)
def test_a_mutation_is_noticed(mutation: Mutation, tmp_path: Path) -> None:
    plant(mutation, tmp_path)
    ran = run_test(mutation.test, tmp_path)
    assert ran.returncode == FAILED, f"{mutation.test} did not fail:\n{ran.stdout[-2000:]}"
