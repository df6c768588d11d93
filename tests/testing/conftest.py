"""The fixtures of these tests: a kit for the shop, made as a project without the plugin makes it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from posthorse import testing as pt
from tests.testing import shop


@pytest.fixture
def kit() -> Iterator[pt.Kit]:
    shop.calls.clear()
    with pt.kit(shop.app) as kit:
        yield kit
