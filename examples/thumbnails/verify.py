"""Verify the thumbnails: open each beside its photograph, with no code of the job and none of Posthorse.

    python verify.py /tmp/thumbnails astronaut.png chelsea.png

The exit code is 0 if everything is right, otherwise 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageChops, ImageStat

EDGE = 160
MAX_DIFFERENT = 12.0
"""Of 255, on average: the difference that another way of scaling down, and JPEG, may make."""


def main(folder: str, *photos: str) -> int:
    wrong = [problem for photo in photos if (problem := _problem(Path(folder), Path(photo)))]
    files = {path.name for path in Path(folder).iterdir()}
    odd = files - {f"{Path(photo).stem}.jpg" for photo in photos}
    wrong += [f"{name} is of no photograph" for name in sorted(odd)]
    for problem in wrong:
        print(f"WRONG  {problem}")
    if wrong:
        return 1
    print(f"Verified: {len(photos)} thumbnails, each a small likeness of its photograph, and nothing beside them.")
    return 0


def _problem(folder: Path, photo: Path) -> str | None:
    made = folder / f"{photo.stem}.jpg"
    if not made.exists():
        return f"{photo.name} has no thumbnail"
    with Image.open(made) as opened:
        small = opened.convert("RGB")
    with Image.open(photo) as opened:
        large = opened.convert("RGB")
    if max(small.size) != min(EDGE, max(large.size)):
        return f"{made.name} is {small.width} × {small.height} pixels"
    same_size = large.resize(small.size, Image.Resampling.BOX)
    difference = sum(ImageStat.Stat(ImageChops.difference(small, same_size)).mean) / 3
    return f"{made.name} does not look like it: {difference:.1f} of 255" if difference > MAX_DIFFERENT else None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
