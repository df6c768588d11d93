"""The paths that ARCHITECTURE.md names exist, so that a rename cannot leave the map behind."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/posthorse"
NAMED = re.compile(r"`((?:app|cli|maintenance|processes|rules|store|testing|web|worker)/[\w/.]+)`")


def test_every_path_of_the_architecture_page_exists() -> None:
    named = set(NAMED.findall((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")))
    assert len(named) > 50
    missing = [
        name for name in sorted(named) if not (PACKAGE / name).exists() and not (PACKAGE / f"{name}.py").exists()
    ]
    assert missing == []
