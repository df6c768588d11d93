"""Taking in the user's own transaction: the result is theirs if and only if that is committed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import posthorse as ph
from tests.app.test_stock import Office
from tests.effects import effects_of, make_effects
from tests.libraries import Library, library, through

__all__ = ["library"]


@pytest.fixture
def url(library: Library, request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(f"{library.store}_url")
    return found


@pytest.fixture
def office(url: str) -> Iterator[Office]:
    app = ph.Posthorse(url, poll="10m")
    make_effects(app)
    yield Office(app)
    app.close()


@through()
def test_what_a_transaction_took_is_on_the_shelf_again_if_it_is_rolled_back(
    office: Office, library: Library, url: str
) -> None:
    tickets = office.app.stock(office.ticket.bind(), level=2)
    tickets.refill()
    office.work()

    async def take(connection: object) -> int:
        if library.is_async:
            return await tickets.atake(connection=connection)  # type: ignore[arg-type]
        return tickets.take(connection=connection)  # type: ignore[arg-type]

    async def scene() -> list[int]:
        async with library.open(url) as party:
            taken = []
            for end in (party.rollback, party.commit, party.rollback, party.commit):
                await party.do(party.begin)
                taken.append(await take(party.connection))
                await party.write(taken[-1])
                await party.do(end)
            await party.do(party.begin)
            with pytest.raises(ph.StockEmpty):
                await take(party.connection)
            await party.do(party.rollback)
            return taken

    first, again, second, second_again = library.play(scene())
    assert first == again
    assert second == second_again != first
    assert sorted(effects_of(office.app)) == sorted([again, second_again])
    assert tickets.status().made == 0
