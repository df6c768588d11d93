"""Namesakes: kinds of the same name in the code of two applications are found, and nothing else is mistaken for one."""

from __future__ import annotations

import functools
from collections.abc import Callable

import posthorse as ph
from posthorse.rules.namesakes import Serving, all_namesakes, namesakes, place_of, split_places, with_places

SHOP = Serving("shop:1", [], {"welcome": "shop.jobs:welcome", "count": "shop.jobs:count"})
BANK = Serving("bank:1", [], {"welcome": "bank.mail:welcome"})


def test_other_code_under_the_same_name_is_found_from_both_sides() -> None:
    [found] = namesakes(SHOP, [SHOP, BANK])
    assert found == ("welcome", "shop:1", "shop.jobs:welcome", "bank:1", "bank.mail:welcome")
    assert [each.kind for each in namesakes(BANK, [SHOP])] == ["welcome"]
    others = [SHOP._replace(worker="shop:2"), BANK._replace(worker="bank:2")]
    assert len(all_namesakes([SHOP, BANK, *others])) == 1, "each pair of places once"


def test_workers_without_a_queue_in_common_do_not_meet() -> None:
    mail, media, both = (SHOP._replace(queues=queues) for queues in (["mail"], ["media"], ["media", "mail"]))
    assert not [*namesakes(mail, [BANK._replace(queues=["media"])])]
    assert [*namesakes(mail, [BANK._replace(queues=["media", "mail"])])]
    assert [*namesakes(mail, [BANK])]
    assert not all_namesakes([mail, media, both])


def test_a_module_that_is_found_by_two_paths_is_the_same() -> None:
    inside = Serving("w", [], {"welcome": "jobs:welcome"})
    assert not [*namesakes(SHOP, [inside])]
    assert not [*namesakes(inside, [SHOP])]
    assert [*namesakes(inside, [BANK])]
    assert [*namesakes(Serving("w", [], {"welcome": "bs:welcome"}), [Serving("v", [], {"welcome": "jobs:welcome"})])]


def test_what_other_processes_name_otherwise_has_no_place() -> None:
    def local() -> None: ...

    def script() -> None: ...

    def wrapped(function: Callable[[], None]) -> Callable[[], None]:
        @functools.wraps(function)
        def wrapper() -> None:
            function()

        return wrapper

    script.__module__, script.__qualname__ = "__main__", "script"
    assert place_of(local) is place_of(script) is place_of(lambda: None) is place_of(wrapped(local)) is None
    there = test_a_module_that_is_found_by_two_paths_is_the_same
    assert place_of(wrapped(there)) == place_of(there) == f"{__name__}:{there.__name__}"
    long = functools.wraps(there)(lambda: None)
    long.__qualname__ = "x" * 1000
    assert place_of(long) is None


def test_places_lie_among_kinds_and_are_none_of_them() -> None:
    app = ph.Posthorse("sqlite:///never.db")
    app.job(kind="now", aliases=["once"])(test_workers_without_a_queue_in_common_do_not_meet)
    place = f"{__name__}:test_workers_without_a_queue_in_common_do_not_meet"
    assert app.registry.places() == {"now": place, "once": place}
    stored = with_places(["now", "once", "other"], app.registry.places())
    assert stored[:3] == ["now", "once", "other"], "as older versions read it"
    assert split_places(stored) == (["now", "once", "other"], app.registry.places())
