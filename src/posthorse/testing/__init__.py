"""What tests of applications need: `from posthorse import testing as pt`.

Each name is imported at its first use, because pytest loads the plugin beside it in projects that may not use it.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from posthorse.testing.attempts import Attempted, Drained, Left
    from posthorse.testing.clock import FakeClock
    from posthorse.testing.contexts import FakeContext, context
    from posthorse.testing.databases import postgres
    from posthorse.testing.doubles import crash_in_slice, flaky, lose_lease
    from posthorse.testing.enqueued import Enqueued
    from posthorse.testing.kits import Kit, kit

__all__ = [
    "Attempted",
    "Drained",
    "Enqueued",
    "FakeClock",
    "FakeContext",
    "Kit",
    "Left",
    "context",
    "crash_in_slice",
    "flaky",
    "kit",
    "lose_lease",
    "postgres",
]

_HOMES = {
    "Attempted": "attempts",
    "Drained": "attempts",
    "Left": "attempts",
    "FakeClock": "clock",
    "FakeContext": "contexts",
    "context": "contexts",
    "postgres": "databases",
    "crash_in_slice": "doubles",
    "flaky": "doubles",
    "lose_lease": "doubles",
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
