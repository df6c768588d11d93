"""Request headers as values: how long to wait, and which versions of a job the client has. It reads nothing else."""

from __future__ import annotations

import re

from starlette.datastructures import Headers

from posthorse.web.problems import invalid_header
from posthorse.web.waits import MAX_WAIT

PREFER = {"Prefer": "`wait=10` waits so many seconds, 60 at most, for the end of the job (RFC 7240)"}
IF_NONE_MATCH = {"If-None-Match": "the `ETag` of an earlier answer: 304 if the job is still the same"}
IF_MATCH = {"If-Match": "the `ETag` of the job, as it was read"}
IDEMPOTENCY_KEY = {"Idempotency-Key": "the same key, within 24 hours, gives the same job"}

_WAIT = re.compile(r"wait\s*=\s*\"?(\d{1,9})\"?", re.ASCII)
_TAG = re.compile(r'(?:W/)?"[!#-~\x80-\xff]*"')


def preferred_wait(headers: Headers) -> int | None:
    """Return how many seconds the client likes to wait. Preferences that cannot be read do not count (RFC 7240)."""
    for given in headers.getlist("prefer"):
        for preference in given.split(","):
            found = _WAIT.fullmatch(preference.partition(";")[0].strip().lower())
            if found is not None:
                return min(int(found[1]), MAX_WAIT)
    return None


def has_tag(headers: Headers, tag: str) -> bool:
    """Return whether `If-None-Match` names this tag. Raises Problem if it is malformed."""
    given = ", ".join(headers.getlist("if-none-match"))
    if not given:
        return False
    if given.strip() == "*":
        return True
    tags = _TAG.findall(given)
    if _TAG.sub("", given).replace(",", "").strip() or not tags:
        raise invalid_header("If-None-Match", "it is a list of entity tags in quotes, or *")
    return any(one.removeprefix("W/") == tag for one in tags)
