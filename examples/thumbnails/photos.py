"""The photographs: those that scikit-image contains, and a broken one. Its code is not imported."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

BROKEN = "half-an-astronaut.png"
KINDS = (".jpg", ".png")


def photographs() -> list[Path]:
    """Return pictures of people, animals, machines and galaxies."""
    found = find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("the photographs are missing: `make setup` installs scikit-image for them")
    folder = Path(found.submodule_search_locations[0]) / "data"
    return sorted(path for path in folder.iterdir() if path.suffix in KINDS)


def make_broken(folder: Path) -> Path:
    """Make a picture whose second half is missing."""
    [whole] = (path for path in photographs() if path.stem == "astronaut")
    content = whole.read_bytes()
    broken = folder / BROKEN
    broken.write_bytes(content[: len(content) // 2])
    return broken
