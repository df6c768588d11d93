"""The page on testing shows a project whose tests pass, and so does the example."""

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
        with (tmp_path / name).open("a", encoding="utf-8") as file:
            file.write(f"\n\n{code}")
    printed = passes(tmp_path)
    assert "11 passed" in printed


def test_the_example_passes_its_tests() -> None:
    root = PAGE.parents[1]
    printed = passes(root, "-c", "examples/tested_shop/pytest.ini", "examples/tested_shop")
    assert "100 passed" in printed
