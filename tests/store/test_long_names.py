"""The longest names that are allowed, in letters that take most room and cannot be compressed, fit every index."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

import posthorse as ph
from posthorse.rules.gates import gate_name
from posthorse.rules.keys import MAX_STORED, stored_key

CHANCE = random.Random(1)


def letters(count: int) -> str:
    """Return ideographs beyond the basic plane: four bytes each."""
    return "".join(chr(CHANCE.randrange(0x20000, 0x2A6D0)) for _ in range(count))


def _with_parameter(name: str) -> Callable[[Callable[[str], int]], Callable[[str], int]]:
    """Return the same function with another name of its parameter."""

    def rename(function: Callable[[str], int]) -> Callable[[str], int]:
        named: dict[str, Callable[[str], int]] = {}
        exec(f"def limited({name}: str) -> int:\n    return function({name})\n", {"function": function}, named)
        return named["limited"]

    return rename


@pytest.fixture
def application(store_url: str) -> ph.Posthorse:
    app = ph.Posthorse(store_url, lease="6s", poll="0.5s")
    app.migrate()
    return app


def test_the_longest_key_of_the_longest_names_counts(application: ph.Posthorse) -> None:
    app = application
    kind, queue, tenant, key = letters(200), letters(200), letters(200), letters(512)

    @app.job(kind=kind, queue=queue)
    def work(n: int) -> int:
        return n

    first = work.using(key=key, tenant=tenant).enqueue(1)
    again = work.using(key=key, tenant=tenant).enqueue(1)
    other = work.using(key=f"{key[:-1]}x", tenant=tenant).enqueue(1)
    assert (again.id, again.created) == (first.id, False)
    assert other.created
    assert work.using(key=ph.Key(key, scope="app"), tenant=tenant).enqueue(1).created
    with pytest.raises(ph.KeyConflict):
        work.using(key=key, tenant=tenant).enqueue(2)
    app.close()


def test_limits_by_the_longest_values_let_their_jobs_through(application: ph.Posthorse) -> None:
    app = application
    parameter, longest = letters(198), letters(198)

    @app.job(
        kind=letters(198),
        concurrency=ph.Concurrency(1, per=parameter),
        rate=ph.Rate("100/s", per=parameter),
        sequence=ph.Sequence(per=parameter),
    )
    @_with_parameter(parameter)
    def limited(value: str) -> int:
        return 1

    jobs = [limited.using(tenant=letters(198)).enqueue(longest) for _ in range(3)]
    with app.worker():
        assert [job.result(timeout=60) for job in jobs] == [1, 1, 1]
    app.close()


def test_no_digest_is_taken_for_a_key_that_somebody_wrote() -> None:
    scope, digest = stored_key("work", letters(512))
    assert (scope, digest) != stored_key("work", digest)
    assert stored_key("work", "k" * MAX_STORED) == ("work", "k" * MAX_STORED)


def test_long_gates_differ_where_their_values_do() -> None:
    what = ("rate", "kind", letters(198), letters(198))
    one, other = letters(198), letters(198)
    assert gate_name(*what, one) != gate_name(*what, other)
    assert len(gate_name(*what, one).encode()) < 2_000
    assert gate_name(*what, one).startswith(gate_name(*what[:3]).removesuffix("]") + ",")
