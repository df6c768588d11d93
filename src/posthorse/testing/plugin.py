"""The plugin for pytest: the fixture `posthorse`, and those by which a project says what it is for.

pytest loads this module in every project that has Posthorse installed. So nothing of Posthorse is imported before a
test asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from datetime import datetime

    import pluggy

    from posthorse.app.client import Posthorse
    from posthorse.testing.kits import Kit

INI = "posthorse_app"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the application."""
    parser.addini(INI, "the application of Posthorse that the fixture `posthorse` is for: shop.jobs:app", type="args")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pluggy.Result[pytest.TestReport]]:
    """Show the last drain of a test that failed, because an assertion about its counts shows only these."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        kit: object = getattr(item, "funcargs", {}).get("posthorse")
        drained: object = getattr(kit, "last_drained", None)
        if drained is not None:
            report.sections.append(("the last drain", str(drained)))


@pytest.fixture
def posthorse_app(pytestconfig: pytest.Config) -> Posthorse | Sequence[Posthorse]:
    """Return the application, or several, that the fixture `posthorse` is for; a project may define its own."""
    from posthorse.testing.project import applications_of

    return applications_of(pytestconfig.getini(INI), pytestconfig.rootpath)


@pytest.fixture
def posthorse_url() -> str | None:
    """Return the address of the store for a test; None for a fresh file. A project may define its own."""
    return None


@pytest.fixture
def posthorse_now() -> datetime | None:
    """Return when a test begins, on the clock of the store; None for the present. A project may define its own."""
    return None


@pytest.fixture
def posthorse(
    posthorse_app: Posthorse | Sequence[Posthorse], posthorse_url: str | None, posthorse_now: datetime | None
) -> Iterator[Kit]:
    """Yield the kit of a test: a fresh store for the application, with `drain`, `clock` and assertions."""
    from posthorse.testing.kits import Kit

    apps = posthorse_app if isinstance(posthorse_app, Sequence) else (posthorse_app,)
    with Kit(apps, url=posthorse_url, now=posthorse_now) as kit:
        yield kit
