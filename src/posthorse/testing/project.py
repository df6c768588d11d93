"""Which application the tests of a project are for: what pytest's settings name, or what commands would use."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path

from posthorse.app.client import Posthorse
from posthorse.app.loading import find_target, load_application
from posthorse.errors import InvalidSettings


def applications_of(named: Sequence[str], root: Path) -> Sequence[Posthorse]:
    """Import the applications of a project, whose folder is `root`. Raises InvalidSettings."""
    with chdir(root):
        targets = named
        if not targets:
            found = find_target()
            targets = () if found is None else (found[0],)
        if not targets:
            raise InvalidSettings(
                "the fixture `posthorse` does not know your application; define a fixture `posthorse_app` that returns "
                'it, or write `posthorse_app = "shop.jobs:app"` under [tool.pytest.ini_options], or '
                '`app = "shop.jobs:app"` under [tool.posthorse] in pyproject.toml'
            )
        return [load_application(target) for target in targets]
