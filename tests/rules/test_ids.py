"""Job ids: UUIDv7 that grow, even if several are made at once."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from posthorse import ids


def test_id_is_a_uuid_of_version_seven() -> None:
    made = uuid.UUID(ids.new_id())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert ids.is_id(str(made))


def test_id_tells_when_it_was_made() -> None:
    before = time.time_ns() // 1_000_000
    made = ids.milliseconds_of(ids.new_id())
    assert before <= made <= time.time_ns() // 1_000_000 + 1


def test_ids_grow_within_a_call_and_from_call_to_call() -> None:
    found = [id for count in (1, 1000, 3, 500) for id in ids.new_ids(count)]
    assert found == sorted(found)
    assert len(set(found)) == 1504


def test_a_call_for_more_than_the_last_digits_can_count() -> None:
    found = ids.new_ids(140_000)
    assert found == sorted(found)
    assert len({id[:23] for id in found}) in (3, 4)
    assert all(uuid.UUID(id).version == 7 for id in found[::10_000])
    assert len({id[28:] for id in found[:1000]}) > 990  # the last digits are random


def test_threads_never_make_the_same_id() -> None:
    with ThreadPoolExecutor(8) as pool:
        found = [id for made in pool.map(ids.new_ids, [250] * 40) for id in made]
    assert len(set(found)) == 10_000


def test_an_id_can_be_made_in_the_midst_of_another_as_signal_handlers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    now, made = time.time_ns, list[str]()

    def interrupted() -> int:
        monkeypatch.setattr(time, "time_ns", now)
        made.append(ids.new_id())
        return now()

    monkeypatch.setattr(time, "time_ns", interrupted)
    outer = ids.new_id()
    assert len({outer, *made, ids.new_id()}) == 3


def test_ids_follow_a_clock_that_was_days_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store refuses ids that are a day from its clock."""
    with monkeypatch.context() as patch:
        ahead = time.time_ns() + 50 * 3600 * 10**9
        patch.setattr(time, "time_ns", lambda: ahead)
        ids.new_ids(10)
    made = [*ids.new_ids(1000), ids.new_id()]
    assert len(set(made)) == 1001
    assert max(map(ids.milliseconds_of, made)) < time.time_ns() // 1_000_000 + ids.CLOCK_TOLERANCE // 1000
    assert sorted(made) == made


def test_clock_that_steps_back_does_not_make_ids_shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ids.new_id()
    past = time.time_ns() - 3600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: past)
    assert ids.new_id() > first


@pytest.mark.parametrize(
    "text", ["", "x", "01936F5E-7C1A-7D2B-8E3F-0123456789AB", "01936f5e7c1a7d2b8e3f0123456789ab", " "]
)
def test_other_texts_are_no_ids(text: str) -> None:
    assert not ids.is_id(text)
