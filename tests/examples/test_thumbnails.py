"""The thumbnails act: its output is right, and its verification notices what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from examples.thumbnails.photos import BROKEN, photographs

ACT = Path(__file__).parents[2] / "examples" / "thumbnails"


def run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ACT / program), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=290, check=False, cwd=ACT.parents[1])


@pytest.mark.timeout(300)
def test_every_photograph_gets_its_thumbnail_and_the_broken_one_is_a_dead_letter(store_url: str) -> None:
    act = run("demo.py", "--url", store_url)
    assert act.returncode == 0, act.stdout + act.stderr
    assert f"{BROKEN}: job" in act.stdout
    assert "OSError: image file is truncated" in act.stdout
    assert f"Verified: {len(photographs())} thumbnails" in act.stdout


@pytest.mark.parametrize("damage", ["missing", "another", "of no photograph"])
def test_proof_sees_a_thumbnail_that_is(damage: str, tmp_path: Path) -> None:
    from examples.thumbnails.jobs import thumbnail

    cat, moon = (photo for photo in photographs() if photo.stem in ("chelsea", "moon"))
    for photo in (cat, moon):
        thumbnail(str(photo), str(tmp_path))
    assert run("verify.py", str(tmp_path), str(cat), str(moon)).returncode == 0
    match damage:
        case "missing":
            (tmp_path / "moon.jpg").unlink()
        case "another":
            (tmp_path / "moon.jpg").write_bytes((tmp_path / "chelsea.jpg").read_bytes())
        case _:
            (tmp_path / "dog.jpg").write_bytes((tmp_path / "moon.jpg").read_bytes())
    proof = run("verify.py", str(tmp_path), str(cat), str(moon))
    assert proof.returncode == 1
    assert "WRONG" in proof.stdout
