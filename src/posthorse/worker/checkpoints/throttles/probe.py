"""The probe: asks an address for its status."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit


def probe(address: str, *, within: float) -> float:
    """Return the status of an address; 0 instead of 200 to 299. Redirects are not followed.

    within: seconds for each step of the connection. Raises OSError, http.client.HTTPException.
    """
    parts = urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=within)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"User-Agent": "posthorse", "Connection": "close"})
        status = connection.getresponse().status
    finally:
        connection.close()
    return 0 if 200 <= status < 300 else status
