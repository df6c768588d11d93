"""The cursor of a page: where the next page begins, signed, so that it fits only the filter that it was made for."""

from __future__ import annotations

import base64
import hashlib
import hmac

import msgspec

from posthorse.errors import InvalidOption
from posthorse.rules.search.filter import Filter
from posthorse.rules.search.ways import Way

KEY_BYTES = 32
_SIGNATURE_BYTES = 16
_DIGEST_BYTES = 12
_MAX_LENGTH = 1_000
_AGAIN = "begin again without it"


class Position(msgspec.Struct, frozen=True, array_like=True):
    """The last job that was looked at, on a way. `at` is where the job is on a way that is not ordered by ids."""

    way: Way
    job: str
    at: int
    oldest_first: bool = False


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    """What a cursor holds."""

    position: Position
    tenant: str | None
    digest: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Sealed).decode


def seal(position: Position, wanted: Filter, key: bytes, *, tenant: str | None = None) -> str:
    """Return the cursor of the page after a position. tenant: the only one whose jobs the reader may see."""
    sealed = _encode(_Sealed(position, tenant, _digest(wanted)))
    return base64.urlsafe_b64encode(sealed + _signature(sealed, key)).decode().rstrip("=")


def unseal(cursor: str, wanted: Filter, key: bytes, *, tenant: str | None = None) -> Position:
    """Return the position in a cursor. Raises InvalidOption for one of another store, filter or tenant."""
    sealed = _opened(cursor, key)
    if sealed is None:
        raise InvalidOption(f"the cursor was not made by this store, or it was changed on its way; {_AGAIN}")
    if sealed.tenant != tenant:
        raise InvalidOption(f"the cursor was made for the jobs of another tenant; {_AGAIN}")
    if sealed.digest != _digest(wanted):
        raise InvalidOption(f"the cursor was made for another filter than {str(wanted)!r}; give that one, or {_AGAIN}")
    return sealed.position


def _opened(cursor: str, key: bytes) -> _Sealed | None:
    if len(cursor) > _MAX_LENGTH:
        return None
    try:
        whole = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return None
    sealed, signature = whole[:-_SIGNATURE_BYTES], whole[-_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _signature(sealed, key)):
        return None
    try:
        return _decode(sealed)
    except msgspec.MsgspecError:  # signed by another version
        return None


def _signature(sealed: bytes, key: bytes) -> bytes:
    return hmac.digest(key, sealed, "sha256")[:_SIGNATURE_BYTES]


def _digest(wanted: Filter) -> bytes:
    return hashlib.sha256(str(wanted).encode()).digest()[:_DIGEST_BYTES]
