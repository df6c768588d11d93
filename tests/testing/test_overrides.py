"""Replacing the providers of resources in a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import cast

import pytest

import posthorse as ph
from posthorse import testing as pt

app = ph.Posthorse("sqlite:////nowhere/overrides.db")
steps: list[str] = []


def address() -> str:
    return "production"


def database(host: str = ph.depends(address)) -> Iterator[str]:
    steps.append(f"open {host}")
    yield f"the database of {host}"
    steps.append(f"close {host}")


async def client(host: str = ph.depends(address, scope="process")) -> AsyncIterator[str]:
    steps.append(f"connect to {host}")
    yield f"a client of {host}"
    steps.append(f"leave {host}")


@app.job(aliases=["tally"])
def count(db: str = ph.depends(database)) -> str:
    return db


@app.job
async def acount(db: str = ph.depends(database)) -> str:
    return db


@app.job
def fetch(of: str = ph.depends(client, scope="process")) -> str:
    return of


@app.job
def plain() -> str:
    return "no resource"


def fake() -> Iterator[str]:
    steps.append("open fake")
    yield "a fake"
    steps.append("close fake")


async def afake() -> AsyncIterator[str]:
    await asyncio.sleep(0)
    yield "an async fake"


@pytest.fixture
def kit() -> Iterator[pt.Kit]:
    steps.clear()
    kinds = {name: app.registry[name] for name in app.registry}
    with pt.kit(app) as kit:
        yield kit
    assert {name: app.registry[name] for name in app.registry} == kinds
    assert all(app.registry[name] is kind for name, kind in kinds.items())


def result_of(kit: pt.Kit, kind: ph.Kind[[], str]) -> str:
    job = kind.enqueue()
    kit.drain()
    return job.result()


def test_without_a_replacement_the_provider_is_called(kit: pt.Kit) -> None:
    assert result_of(kit, count) == "the database of production"
    assert steps == ["open production", "close production"]


@pytest.mark.parametrize("kind", [count, acount], ids=["thread", "async"])
@pytest.mark.parametrize(
    ("replacement", "expected"), [(fake, "a fake"), (afake, "an async fake"), (lambda: "a value", "a value")]
)
def test_a_job_gets_what_the_replacement_makes(
    kit: pt.Kit, kind: ph.Kind[[], str], replacement: Callable[[], object], expected: str
) -> None:
    kit.override(database, replacement)
    assert result_of(kit, kind) == expected
    assert steps == (["open fake", "close fake"] if replacement is fake else [])


def test_it_ends_with_the_test() -> None:
    for _ in range(2):
        with pt.kit(app) as kit:
            assert result_of(kit, count) == "the database of production"
            kit.override(database, fake)
            assert result_of(kit, count) == "a fake"


def test_it_ends_with_its_block_also_after_an_error(kit: pt.Kit) -> None:
    def fail_within() -> None:
        with kit.override(database, fake):
            assert result_of(kit, count) == "a fake"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_within()
    assert result_of(kit, count) == "the database of production"


def test_of_two_the_later_one_counts_until_it_is_undone(kit: pt.Kit) -> None:
    outer = kit.override(database, fake)
    with kit.override(database, lambda: "inner"):
        assert result_of(kit, count) == "inner"
    assert result_of(kit, count) == "a fake"
    inner = kit.override(database, lambda: "inner")
    outer.undo()
    assert result_of(kit, count) == "inner"
    inner.undo()
    inner.undo()
    assert result_of(kit, count) == "the database of production"


def test_a_provider_that_others_take_is_replaced_for_them(kit: pt.Kit) -> None:
    with kit.override(address, lambda: "the test"):
        assert result_of(kit, count) == "the database of the test"
        assert result_of(kit, fetch) == "a client of the test"
    assert result_of(kit, count) == "the database of production"


def test_a_replacement_takes_resources_and_a_context_which_the_job_does_not(kit: pt.Kit) -> None:
    def named(ctx: ph.Context, host: str = ph.depends(address)) -> str:
        return f"{ctx.kind} at {host}"

    kit.override(database, named)
    assert result_of(kit, count) == "count at production"


def test_a_replacement_may_take_what_it_replaces(kit: pt.Kit) -> None:
    def noted(db: str = ph.depends(database)) -> str:
        return f"noted: {db}"

    kit.override(database, noted)
    kit.override(address, lambda: "the test")
    assert result_of(kit, count) == "noted: the database of the test"
    assert steps == ["open the test", "close the test"]


def test_a_resource_of_the_process_is_replaced_and_closed(kit: pt.Kit) -> None:
    kit.override(client, fake)
    assert result_of(kit, fetch) == "a fake"
    assert steps == ["open fake", "close fake"]


def test_a_worker_of_the_test_makes_no_resource_of_a_replacement_serve_after_it(kit: pt.Kit) -> None:
    with app.worker():
        assert fetch.enqueue().result(timeout=30) == "a client of production"
        with kit.override(address, lambda: "the test"):
            assert fetch.enqueue().result(timeout=30) == "a client of the test"
        assert fetch.enqueue().result(timeout=30) == "a client of production"
    assert steps == [
        "connect to production", "connect to the test", "leave the test", "leave production"
    ]  # fmt: skip


def test_a_job_that_is_stored_under_an_earlier_name_gets_it_too(kit: pt.Kit) -> None:
    kit.override(database, fake)
    assert app.registry["tally"] is app.registry["count"]


def test_a_job_that_is_enqueued_inline_gets_it(kit: pt.Kit) -> None:
    kit.override(database, fake)
    with kit.inline():
        assert count.enqueue().result() == "a fake"


def test_coroutines_drain_with_it(kit: pt.Kit) -> None:
    async def test() -> tuple[str, str]:
        with kit.override(database, afake):
            jobs = [await count.aenqueue(), await acount.aenqueue()]
            await kit.adrain()
            first, second = [await job.aresult() for job in jobs]
            return first, second

    assert asyncio.run(test()) == ("an async fake",) * 2


def test_a_job_that_is_declared_in_the_test_is_known_to_the_next_replacement(kit: pt.Kit) -> None:
    def local() -> str:
        return "local"

    kit.override(database, fake)

    @app.job
    def late(value: str = ph.depends(local)) -> str:
        return value

    try:
        kit.override(local, lambda: "replaced")
        assert result_of(kit, late) == "replaced"
    finally:
        kit._overrides.close()  # pyright: ignore[reportPrivateUsage]
        app.registry.remove(app.registry["late"])


@pytest.mark.parametrize(
    ("provider", "replacement", "told"),
    [
        (fake, lambda: "", "no job .* takes a resource of fake, .* Providers are: address, client, database"),
        (
            database,
            cast("Callable[..., object]", "a fake"),
            "override.. takes a function or class that makes the resource, not 'a fake'",
        ),
        (database, cast("Callable[..., object]", fake()), "what one call of fake made"),
        (database, lambda path: path, "nothing fills its parameter 'path'"),
        (client, lambda ctx: ctx, "the context of a job, and its resource is for the whole process"),
    ],
)
def test_what_cannot_be_replaced_is_refused_and_changes_nothing(
    kit: pt.Kit, provider: Callable[..., object], replacement: Callable[..., object], told: str
) -> None:
    with pytest.raises(ph.InvalidOption, match=told):
        kit.override(provider, replacement)
    assert result_of(kit, count) == "the database of production"


def test_outside_of_its_block_a_kit_replaces_nothing() -> None:
    kit = pt.kit(app)
    with pytest.raises(ph.InvalidCall, match="not in use"):
        kit.override(database, fake)
