"""Which errors are one group."""

from __future__ import annotations

import pytest

from posthorse.rules.error_groups import blanked, frames_of, group_of
from posthorse.rules.job import JobError

TRACEBACK = """Traceback (most recent call last):
  File "/srv/app/.venv/lib/python3.12/site-packages/posthorse/worker/running/threads.py", line 9, in run
    outcome = call()
  File "/srv/app/shop/jobs.py", line 20, in remind
    mail.send(order)
  File "/srv/app/shop/mail.py", line 7, in send
    client.post(order)
  File "/srv/app/.venv/lib/python3.12/site-packages/client/api.py", line 90, in post
    raise Refused(order)
client.api.Refused: order 17 of 'ann' is late
"""


def error(message: str = "order 17 of 'ann' is late", traceback: str | None = TRACEBACK) -> JobError:
    return JobError("client.api.Refused", message, traceback)


@pytest.mark.parametrize(
    "other",
    [
        error("order 4,711 of 'bob' is late"),
        error(traceback=TRACEBACK.replace("line 20", "line 21")),
        error(traceback=TRACEBACK.replace("/srv/app", "/srv/app-2")),
        error(traceback=TRACEBACK.replace("line 90, in post", "line 91, in put")),
    ],
)
def test_errors_that_differ_in_numbers_names_lines_and_libraries_are_one_group(other: JobError) -> None:
    assert group_of("remind", other, is_secret=False) == group_of("remind", error(), is_secret=False)


@pytest.mark.parametrize(
    "other",
    [
        error("order 17 of 'ann' is lost"),
        error(traceback=TRACEBACK.replace("in send", "in print")),
        JobError("client.api.Late", "order 17 of 'ann' is late", TRACEBACK),
    ],
)
def test_errors_of_other_classes_places_and_words_are_other_groups(other: JobError) -> None:
    one, two = group_of("remind", error(), is_secret=False), group_of("remind", other, is_secret=False)
    assert one.fingerprint != two.fingerprint
    assert one.fingerprint != group_of("warn", error(), is_secret=False).fingerprint


def test_of_a_secret_error_only_its_class_and_place_are_told() -> None:
    secret = group_of("remind", error("her number is 4711"), is_secret=True)
    assert secret == group_of("remind", error("his name is Bob"), is_secret=True)
    assert secret.message == "in shop/mail.py:send < shop/jobs.py:remind"


@pytest.mark.parametrize(
    ("message", "blank"),
    [
        ("took 12.5 s of 10", "took # s of #"),
        ("no user 01936f5e-7c1a-7d2b-8e3f-0123456789ab", "no user #"),
        ("at 0x7f3a91", "at #"),
        ("commit deadbeef12 is gone", "commit # is gone"),
        ("\"a\" is not in 'b'", "# is not in #"),
        ("first\nsecond", "first"),
        ("x" * 5_000, "x" * 200),
    ],
)
def test_what_differs_from_error_to_error_is_blanked(message: str, blank: str) -> None:
    assert blanked(message) == blank


def test_frames_of_libraries_count_only_where_there_are_no_others() -> None:
    assert frames_of(TRACEBACK) == ("shop/jobs.py:remind", "shop/mail.py:send")
    assert frames_of('  File "/usr/lib/python3.12/json/decoder.py", line 3, in decode\n') == ("json/decoder.py:decode",)
    assert frames_of("") == ()
