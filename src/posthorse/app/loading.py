"""Finding an application by its name, `module:attribute`."""

from __future__ import annotations

import importlib
import sys

from posthorse.app.client import Posthorse
from posthorse.errors import UsageError


def load_application(target: str) -> Posthorse:
    """Imports `module:attribute`."""
    module_name, _, attribute = target.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    module = importlib.import_module(module_name)
    app = getattr(module, attribute or "app", None)
    if not isinstance(app, Posthorse):
        raise UsageError(f"{target} is no application")
    return app
