"""Guards against requests that a browser makes without its user's wish: from pages of other sites, or by a name that
was bent to lead here. They look at headers alone.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from posthorse.web.problems import Problem, refused

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Names of this machine, which no name server of others can bend."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""


def check_host(headers: Headers, known: Collection[str] | None) -> None:
    """Refuse a host that is not ours: a page of another site may have let its own name lead here. Raises Problem.

    known: names without a port; None where the application around the service, or a proxy, checks them.
    """
    if known is None:
        return
    given = headers.getlist("host")
    if len(given) == 1 and _without_port(given[0].lower()) in known:
        return
    raise Problem(
        421,
        "unknown-host",
        "Unknown host",
        "the service is not reached under this name; give its names with `posthorse serve --host NAME`",
    )


def check_origin(method: str, headers: Headers) -> None:
    """Refuse a change that a page of another site asks for. Raises Problem.

    Programs send neither header. A bearer token may come from anywhere, because no browser adds one by itself.
    """
    if method in SAFE or headers.get("authorization", "").lower().startswith("bearer "):
        return
    site = headers.get("sec-fetch-site")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise refused("the request comes from a page of another site (Sec-Fetch-Site)")
        return
    origin = headers.get("origin")
    if origin is not None and _host_of(origin) != headers.get("host", "").lower():
        raise refused("the request comes from a page of another site (Origin)")


def _host_of(origin: str) -> str | None:
    """Return the host and port of an origin; None if it is malformed, and so that of no page of ours."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _without_port(host: str) -> str:
    name, separator, port = host.rpartition(":")
    return name if separator and port.isdecimal() else host
