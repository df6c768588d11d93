"""Topics: what events of users are sent to, and jobs listen to."""

from __future__ import annotations

import msgspec

from posthorse.errors import InvalidOption
from posthorse.rules.job import checked_name


class Topic(msgspec.Struct, frozen=True):
    """What events are sent to, and jobs listen to. `tenant` is "" for none."""

    tenant: str
    name: str


def topic_of(event: str, to: str, tenant: str | None) -> Topic:
    """Return where an event of this name goes that is sent to a job, by its id, or to a topic. Raises InvalidOption."""
    if "/" in checked_name(event, what="the name of an event"):
        raise InvalidOption(
            f"the name of an event is {event!r}; it must have no /, which stands before it in its topic"
        )
    return Topic(tenant or "", f"{checked_name(to, what='a topic')}/{event}")
