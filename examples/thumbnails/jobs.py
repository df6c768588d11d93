"""The jobs: a thumbnail of each photograph, made in a process of its own.

Decoders of pictures are large C programs that read files from strangers. Whatever a file does to one stays in its
process: a crash, too much memory or too much time costs only this job.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypedDict

from PIL import Image

import posthorse as ph

app = ph.Posthorse(lease="3s")  # the store is $POSTHORSE_URL

EDGE = 160


class Thumbnail(TypedDict):
    """What was made, in pixels and bytes."""

    file: str
    width: int
    height: int
    bytes: int


@app.job(queue="photos", isolation="process", kill_after="30s", max_memory="1GB", max_attempts=2, backoff=0)
def thumbnail(photo: str, folder: str, edge: int = EDGE) -> Thumbnail:
    """Make the longer side `edge` pixels long. May be repeated: the file appears whole, under its own name."""
    target = Path(folder) / f"{Path(photo).stem}.jpg"
    unfinished = target.with_suffix(f".{os.getpid()}")
    with Image.open(photo) as picture:
        small = picture.convert("RGB")
    small.thumbnail((edge, edge))
    small.save(unfinished, "JPEG")
    unfinished.replace(target)
    return Thumbnail(file=target.name, width=small.width, height=small.height, bytes=target.stat().st_size)
