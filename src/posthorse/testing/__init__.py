"""What tests of applications need: `from posthorse import testing as pt`.

Each name is imported at its first use, because pytest loads the plugin beside it in projects that may not use it.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from posthorse.testing.attempts import Attempted, Drained, Left
    from posthorse.testing.clock import FakeClock
    from posthorse.testing.enqueued import Enqueued
    from posthorse.testing.kits import Kit, kit

__all__ = ["Attempted", "Drained", "Enqueued", "FakeClock", "Kit", "Left", "kit"]

_HOMES = {
    "Attempted": "attempts",
    "Drained": "attempts",
    "Left": "attempts",
    "FakeClock": "clock",
    "Enqueued": "enqueued",
    "Kit": "kits",
    "kit": "kits",
}
"""The module of each public name, equal to the imports above for type checkers; the tests compare the two."""

if not typing.TYPE_CHECKING:  # a type checker that saw it would accept any name

    def __getattr__(name: str) -> object:
        """Import a public name at its first use."""
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
