"""Packing: what codecs make of the texts of jobs on their way into the store, and back.

Arguments, results, errors, kept values, steps, cursors, notes, bad items and logs pass through here, on both sides of
the store, and nowhere else. The first character tells what a stored text is: `~`, a codec's mark and a colon begin a
packed one. JSON never begins with `~`; free text that does is stored behind `~:`. This module knows no codec and no
store.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeAlias, TypeGuard, cast, runtime_checkable

import msgspec

from posthorse.errors import CodecError, InvalidOption, ResultExpired
from posthorse.rules.cursor import Cursor
from posthorse.rules.job import JobError, NewJob, Options
from posthorse.rules.values.texts import name_of
from posthorse.rules.values.type_mismatch import short

PACKED = "~"
"""How packed texts begin."""

GONE = "~gone"
"""What is stored in the place of a result that retention removed before its job."""

_ESCAPED = "~:"
"""How free text is stored that begins like a packed one."""

_MARK = re.compile(r"~([a-z][a-z0-9]{0,15}):")
_MAX_LAYERS = 16

What: TypeAlias = Literal[
    "arguments", "result", "error", "kept values", "step", "event", "cursor", "note", "bad item", "log"
]


class About(msgspec.Struct, frozen=True, kw_only=True):
    """Which text a codec has before it: the same when it is packed and when it is unpacked.

    what: "arguments", "result", "error", "kept values", "step", "event", "cursor", "note", "bad item" or "log".
    job: the id of the job; "" for an event that is not for one job alone.
    tenant: that of the job; None also for a job that was enqueued before a codec was in use.
    """

    what: What
    job: str
    tenant: str | None


@runtime_checkable
class Codec(Protocol):
    """What packs the texts of jobs before they are stored, given to `ph.Posthorse(url, codecs=[…])`.

    It is called from several threads, and may be called while the store is being written to: it must be quick.
    """

    @property
    def mark(self) -> str:
        """The name by which a packed text finds its codec again: one to sixteen lower-case letters and digits."""
        ...

    def pack(self, text: str, about: About) -> str | None:
        """Return what is stored instead of a text; None to leave it as it is."""
        ...

    def unpack(self, packed: str, about: About) -> str:
        """Return the text that `pack` was given. Whatever it raises becomes the cause of a CodecError."""
        ...


class PackedError(JobError, frozen=True):
    """An error as stored: its class stays readable, because filters and alarms look for it."""

    packed: str | None = None
    """The message and the traceback; None if they were not packed."""


class JobTexts:
    """The texts of one job."""

    __slots__ = ("_codecs", "_job", "_tenant", "is_on")

    def __init__(self, codecs: Sequence[Codec], job: str, tenant: str | None) -> None:
        self._codecs = codecs
        self._job = job
        self._tenant = tenant
        self.is_on = bool(codecs)
        """Whether there is a codec."""

    def of_no_job(self) -> JobTexts:
        """Return the texts of the same tenant that belong to no job."""
        return JobTexts(self._codecs, "", self._tenant)

    def of_sibling(self, job: str) -> JobTexts:
        """Return the texts of another job of the same tenant."""
        return JobTexts(self._codecs, job, self._tenant) if self.is_on else self

    def of(self, job: str, options: str | None) -> JobTexts:
        """Return the texts of another job, given its stored options."""
        return JobTexts(self._codecs, job, _tenant_in(options)) if self.is_on else self

    def pack(self, text: str, what: What) -> str:
        """Return what is stored for JSON. Raises CodecError."""
        about = About(what=what, job=self._job, tenant=self._tenant)
        for codec in self._codecs:
            text = _packed(codec, text, about)
        return text

    def unpack(self, text: str, what: What) -> str:
        """Return the JSON for which this text is stored. Raises CodecError, and ResultExpired if it was removed."""
        return self._opened(text, what) if text.startswith(PACKED) else text

    def pack_free(self, text: str, what: What) -> str:
        """Return what is stored for a text that is not JSON. Raises CodecError."""
        return self.pack(_ESCAPED + text if text.startswith(PACKED) else text, what)

    def unpack_free(self, text: str, what: What) -> str:
        """Return the text that is not JSON. Raises CodecError."""
        if not text.startswith(PACKED):
            return text
        plain = self._opened(text, what) if _MARK.match(text) is not None else text
        return plain.removeprefix(_ESCAPED)

    def pack_error(self, error: JobError) -> JobError:
        """Return an error as it is stored; without its message if a codec fails, so that none is stored openly."""
        if not self.is_on:
            return error
        try:
            packed = self.pack(_encode([error.message, error.traceback]).decode(), "error")
        except CodecError as failed:
            cause = name_of(type(failed.__cause__ or failed))
            return JobError(type=error.type, message=f"(its message is not stored: a codec raised {cause})")
        return error if not packed.startswith(PACKED) else PackedError(type=error.type, message="", packed=packed)

    def error_in(self, text: str) -> JobError:
        """Return a stored error. If it does not open, its message says why."""
        return self.opened(msgspec.json.decode(text, type=PackedError))

    def opened(self, stored: PackedError) -> JobError:
        """Do the same for an error that is decoded."""
        if stored.packed is None:
            return JobError(stored.type, stored.message, stored.traceback)
        try:
            message, traceback = _decode_evidence(self.unpack(stored.packed, "error"))
        except CodecError as failed:
            return JobError(type=stored.type, message=f"({failed})")
        return JobError(stored.type, message, traceback)

    def pack_cursor(self, cursor: object) -> object:
        """Return what is stored in the place of a cursor. Raises CodecError."""
        packed = self.pack(_encode(cursor).decode(), "cursor")
        return {PACKED: packed} if packed.startswith(PACKED) else cursor

    def unpack_cursor(self, stored: object) -> Cursor:
        """Return the cursor for which this is stored. Raises CodecError."""
        if isinstance(stored, dict) and isinstance(text := cast("dict[str, object]", stored).get(PACKED), str):
            return cast("Cursor", msgspec.json.decode(self.unpack(text, "cursor")))
        return cast("Cursor", stored)

    def _opened(self, text: str, what: What) -> str:
        if text == GONE:
            raise ResultExpired(
                f"job {self._job} completed, and its result was removed, because results stay only for as long as "
                "`keep` says; its status can still be read"
            )
        about = About(what=what, job=self._job, tenant=self._tenant)
        for _ in range(_MAX_LAYERS):
            found = _MARK.match(text)
            codec = None if found is None else next((one for one in self._codecs if one.mark == found[1]), None)
            if found is None or codec is None:
                raise CodecError(_unknown(text, about, [one.mark for one in self._codecs]))
            text = _unpacked(codec, text[found.end() :], about)
            if not text.startswith(PACKED) or text.startswith(_ESCAPED):
                return text
        raise CodecError(f"{_named(about)} was packed more than {_MAX_LAYERS} times over")


class Packing:
    """The codecs of an application: a new text passes them in their order, and a stored one finds those that it had."""

    def __init__(self, codecs: Sequence[Codec] = ()) -> None:
        self._codecs = _checked(codecs)
        self.is_on = bool(self._codecs)
        """Whether there is a codec."""

    def of(self, job: str, tenant: str | None) -> JobTexts:
        """Return the texts of a job; its tenant as its options tell it."""
        return JobTexts(self._codecs, job, tenant) if self.is_on else PLAIN_TEXTS

    def of_stored(self, job: str, options: str | None) -> JobTexts:
        """Do the same, given the stored options."""
        return JobTexts(self._codecs, job, _tenant_in(options)) if self.is_on else PLAIN_TEXTS

    def new_job(self, job: NewJob, job_id: str) -> NewJob:
        """Pack the arguments of a job that is about to be stored under this id. Raises CodecError."""
        options = job.options
        if job.tenant is not None:  # what a claim returns has no tenant
            options = msgspec.structs.replace(Options.decode(options), tenant=job.tenant).encode()
        arguments = self.of(job_id, job.tenant).pack(job.arguments, "arguments")
        return msgspec.structs.replace(job, arguments=arguments, options=options)

    def new_jobs(self, jobs: Sequence[NewJob]) -> Sequence[NewJob]:
        """Pack the arguments of all these jobs. Raises CodecError."""
        return [self.new_job(job, job.id) for job in jobs] if self.is_on else jobs

    def arguments_for(self, earlier: str, job: NewJob) -> str:
        """Return the arguments of a packed job as those of an earlier one, which gets them. Raises CodecError."""
        if not self.is_on:
            return job.arguments
        arguments = self.of(job.id, job.tenant).unpack(job.arguments, "arguments")
        return self.of(earlier, job.tenant).pack(arguments, "arguments")


def _packed(codec: Codec, text: str, about: About) -> str:
    packed = _called(lambda: codec.pack(text, about), codec, about, "pack")
    if packed is None:
        return text
    if not _is_storable(packed):
        raise CodecError(
            f"codec {codec.mark!r} packed {_named(about)} as something else than text that a database can store, "
            "without NUL and lone surrogates"
        )
    return f"{PACKED}{codec.mark}:{packed}"


def _unpacked(codec: Codec, packed: str, about: About) -> str:
    text = _called(lambda: codec.unpack(packed, about), codec, about, "unpack")
    if not isinstance(text, str):
        raise CodecError(f"codec {codec.mark!r} unpacked {_named(about)} as something else than text")
    return text


def _called(call: Callable[[], object], codec: Codec, about: About, verb: str) -> object:
    try:
        return call()
    except Exception as error:  # a codec is the user's, and may raise anything
        raise CodecError(
            f"codec {codec.mark!r} could not {verb} {_named(about)} ({name_of(type(error))}); what is stored stays as "
            "it is"
        ) from error


def _unknown(text: str, about: About, marks: Sequence[str]) -> str:
    found = _MARK.match(text)
    what = _named(about)
    if found is None:
        return f"{what} begins with ~, but no codec can have packed it: the store was changed by hand or is damaged"
    known = ", ".join(map(repr, marks)) or "none"
    return (
        f"{what} was packed by a codec {found[1]!r}, which this application does not have (it has: {known}); give it "
        "to ph.Posthorse(codecs=[…])"
    )


def _named(about: About) -> str:
    return f"the text ({about.what}) of job {about.job}" if about.job else f"the text ({about.what})"


def _checked(codecs: Sequence[Codec]) -> tuple[Codec, ...]:
    if not isinstance(codecs, list | tuple):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"codecs is {short(codecs)}; give a list of them: codecs=[Compressing()]")
    for codec in codecs:
        if not isinstance(codec, Codec):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"{short(codec)} is not a codec: it needs a mark, pack(text, about) and unpack(…)")
        if not _MARK.fullmatch(f"{PACKED}{codec.mark}:"):
            raise InvalidOption(
                f"the mark of a codec is {short(codec.mark)}; it must be one to sixteen lower-case letters and digits, "
                "a letter first"
            )
    marks = [codec.mark for codec in codecs]
    if len(set(marks)) < len(marks):
        raise InvalidOption(f"two codecs have the same mark: {', '.join(marks)}; a text could not tell which packed it")
    return tuple(codecs)


def _tenant_in(options: str | None) -> str | None:
    try:
        return Options.decode(options).tenant
    except msgspec.MsgspecError:  # those of a newer version: the job is unfit
        return None


def _is_storable(text: object) -> TypeGuard[str]:
    try:
        return isinstance(text, str) and b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


_encode = msgspec.json.Encoder().encode
_decode_evidence = msgspec.json.Decoder(tuple[str, str | None]).decode

PLAIN = Packing()
"""Without a codec."""

PLAIN_TEXTS = JobTexts((), "", None)
"""Those of any job, without a codec."""
