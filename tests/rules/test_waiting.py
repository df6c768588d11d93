"""Why a job waits: the most lasting cause is told first, and nothing where it is its turn."""

from __future__ import annotations

import pytest

from posthorse.rules.queues import QueueSettings
from posthorse.rules.waiting import Server, why_waiting
from posthorse.rules.window import as_window

NOON = 1_764_504_000_000_000
FREE = Server((), ("resize",), {"gpu": "yes"}, is_full=False)


def why(*servers: Server, settings: QueueSettings | None = None) -> str | None:
    return why_waiting("resize", "media", settings or QueueSettings(), servers, NOON)


@pytest.mark.parametrize(
    ("servers", "settings", "told"),
    [
        ([FREE], QueueSettings(paused=True), "its queue 'media' is paused"),
        (
            [FREE],
            QueueSettings(window=as_window("22:00-06:00")),
            "its queue 'media' runs 22:00-06:00 UTC alone, next from 2025-11-30 22:00 UTC",
        ),
        ([], None, "no worker is alive"),
        ([FREE._replace(kinds=("mail",))], None, "no living worker knows the kind 'resize'"),
        ([FREE._replace(queues=("mail",))], None, "no living worker that knows its kind takes from its queue 'media'"),
        (
            [FREE._replace(labels={})],
            QueueSettings(labels={"gpu": "yes"}),
            "no living worker has the labels that its queue 'media' asks for: gpu=yes",
        ),
        ([FREE._replace(is_full=True)], None, "every place of the workers that would take it is taken"),
        ([FREE._replace(is_full=True), FREE], None, None),
        ([FREE._replace(queues=("mail", "media"))], QueueSettings(labels={"gpu": "yes"}), None),
        ([FREE], QueueSettings(window=as_window("06:00-22:00")), None),
    ],
)
def test_the_cause_is_told(servers: list[Server], settings: QueueSettings | None, told: str | None) -> None:
    assert why(*servers, settings=settings) == told
