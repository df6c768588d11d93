"""Packed jobs: an application with a codec, whose isolated jobs import this module. The tests point it at a store."""

from __future__ import annotations

import base64
import logging
import zlib
from hashlib import blake2b
from typing import NoReturn

import posthorse as ph
from posthorse.rules.tuning import Tuning

MARKER = "marker-7f3a9c"
"""A word in every text that the codec must hide."""


class Hiding:
    """A codec that compresses, and refuses a text that was packed for another place, as encryption may do."""

    mark = "z"

    def pack(self, text: str, about: ph.About) -> str:
        return f"{_place(about)}.{base64.b64encode(zlib.compress(text.encode())).decode()}"

    def unpack(self, packed: str, about: ph.About) -> str:
        place, _, body = packed.partition(".")
        if place != _place(about):
            raise ValueError("this text was packed for another place")
        return zlib.decompress(base64.b64decode(body)).decode()


def _place(about: ph.About) -> str:
    return blake2b(repr((about.what, about.job, about.tenant)).encode(), digest_size=8).hexdigest()


app = ph.Posthorse(lease="6s", poll="0.2s", codecs=[Hiding()], tuning=Tuning(dead_letters_interval=0.1))


@app.job(max_attempts=1)
def echo(text: str) -> str:
    return f"{text} came back"


@app.job(max_attempts=1)
async def aecho(text: str) -> str:
    return f"{text} came back"


@app.job(isolation="process", max_attempts=1)
def echo_apart(text: str) -> str:
    return f"{text} came back"


@app.job(isolation="process", max_attempts=1)
def fail_apart(text: str) -> NoReturn:
    raise ValueError(text)


@app.job(max_attempts=1, queue="broken")
def fail(text: str) -> str:
    if MARKER in text:
        raise ValueError(f"{text} is wrong")
    return text


@app.job
def tell(text: str) -> None:
    logging.getLogger("shop").warning("about %s", text, extra={"text": text})


@app.job(unique=ph.Unique(on_conflict="replace"))
def latest(text: str) -> str:
    return text


@app.job(unique=ph.Unique(by="name", on_conflict="replace"))
def latest_of(name: str, text: str) -> str:
    return text


@app.job(concurrency=ph.Concurrency(1, per="text"), max_attempts=1)
def one_by_one(text: str) -> str:
    return text


@app.job(max_attempts=2, backoff=0)
def long(ctx: ph.Context, text: str, fails: bool) -> list[str]:
    seen = ctx.keep("seen", list[str]())
    ctx.set_progress(0, note="~" + text)
    for batch in ctx.slices([f"{text} {number}" for number in range(6)], name="items", size=2, tolerate=3):
        for item in batch:
            with batch.tolerate(item):
                if item.endswith("1") and fails:
                    raise KeyError(item)
                seen.append(item)
        if item.endswith("3") and ctx.attempt == 1:
            raise RuntimeError(f"{text} in the second slice")
    return seen


@app.job(max_attempts=2, backoff=0)
def steps(ctx: ph.Context, text: str) -> list[str]:
    first = ctx.step("first", lambda: f"{text} of attempt {ctx.attempt}")
    second = ctx.step("second", lambda: "twice")
    if ctx.attempt == 1:
        raise ValueError
    return [first, second]


@app.job
def stops_after_a_step(ctx: ph.Context, text: str) -> None:
    ctx.step("first", lambda: text)
    app.get_job(ctx.job_id).pause()
    while True:
        ctx.checkpoint()


@app.job(max_attempts=1)
def waits(ctx: ph.Context, topic: str | None) -> object:
    return ctx.wait_event("approved", topic=topic)
