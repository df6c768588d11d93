"""Bodies of requests: read within a time and a size, and decoded from JSON that may be hostile."""

from __future__ import annotations

import asyncio
import re
from typing import TypeVar, cast

import msgspec
from starlette.requests import Request

from posthorse.web.problems import Problem, escaped, invalid_field

T = TypeVar("T")

TIME_TO_SEND = 30.0
"""Seconds in which a client must have sent its body."""

MAX_DEPTH = 100
"""How deep objects and lists may lie in each other; parsers, and Python itself, fail somewhere beyond."""

_FORM = "application/x-www-form-urlencoded"
_NESTING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)
"""A text, or a bracket outside of one. A text without an end matches, too, and nothing is tried twice: otherwise each
quote of a text without an end would be a new beginning, and a body of a megabyte would take hours."""


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body of a request, which must be JSON. Raises Problem."""
    _check_type(request)
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told[:20]) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(TIME_TO_SEND):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
                parts.append(part)
    except TimeoutError:
        detail = f"the body did not come within {TIME_TO_SEND:g} s"
        raise Problem(408, "too-slow", "Too slow", detail, headers={"Connection": "close"}) from None
    return b"".join(parts)


def decode(body: bytes, wanted: type[T], *, pointer: str = "") -> T:
    """Decode JSON strictly. `pointer`: where it is in the body. Raises Problem, which leads to the value."""
    if not body.strip():
        raise _malformed("the body is empty, and must be a JSON object")
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise _malformed("the body begins with a byte order mark; send JSON as UTF-8 without one")
    _check_depth(body)
    try:
        body.decode()  # msgspec does not look into what it passes on as it is
        return msgspec.json.decode(body, type=wanted)
    except msgspec.ValidationError as error:
        what, path = _parted(str(error))
        raise invalid_field(pointer + path, what) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(f"the body is not JSON: {error}") from None


def _check_type(request: Request) -> None:
    """Refuse a body that is not said to be JSON: a page of another site could send such a one without being asked.

    What `curl -d` says is accepted of programs alone, which browsers tell apart by headers that pages cannot leave out.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_from_browser = "origin" in request.headers or "sec-fetch-site" in request.headers
    if kind != "application/json" and not (kind == _FORM and not is_from_browser):
        raise Problem(
            415,
            "unsupported-media-type",
            "Unsupported media type",
            "send JSON, with the header Content-Type: application/json",
            headers={"Accept-Post": "application/json"},
        )
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Problem(
            415,
            "unsupported-media-type",
            "Unsupported media type",
            "send the body as it is, without a Content-Encoding",
            headers={"Accept-Encoding": "identity"},
        )


def _check_depth(body: bytes) -> None:
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for found in _NESTING.finditer(body):
        if found[0] in (b"[", b"{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise _malformed(f"the body has more than {MAX_DEPTH} objects and lists in each other")
        elif found[0] in (b"]", b"}"):
            depth -= 1


def _parted(message: str) -> tuple[str, str]:
    """Return what msgspec says is wrong, and a pointer to it, as far as it tells: not into a list."""
    what, _, place = message.partition(" - at `$")
    steps = cast("list[str]", re.split(r"\[|`", place, maxsplit=1))[0].split(".")
    return f"{what[:1].lower()}{what[1:]}".replace("`", ""), "".join(f"/{escaped(step)}" for step in steps if step)


def _malformed(detail: str) -> Problem:
    return Problem(400, "malformed-json", "Malformed JSON", detail)


def _too_large(limit: int) -> Problem:
    return Problem(
        413,
        "too-large",
        "Too large",
        f"the body may have {limit:,} bytes; send the key of large data, or send jobs in parts",
        headers={"Connection": "close"},
    )
