"""The page on testing shows a project whose tests pass."""

from __future__ import annotations

import re
from pathlib import Path

from tests.testing.projects import passes

PAGE = Path(__file__).parents[2] / "docs/testing.md"


def test_the_project_of_the_page_passes_its_tests(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    [settings] = re.findall(r"^```toml\n(.*?)^```", page, re.M | re.S)
    (tmp_path / "pyproject.toml").write_text(settings)
    for name, code in re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", page, re.M | re.S):
        (tmp_path / name).write_text(code)
    printed = passes(tmp_path)
    assert "5 passed" in printed
