"""Defects planted in statements, to see that they are found: a word of the project's SQL is exchanged for another."""

from __future__ import annotations

from posthorse.store.queries import Dialect, Queries


class Doctored(Queries):
    """The statements of a dialect, some of them with a defect: (name, what it says, what it is made to say)."""

    def __init__(self, dialect: Dialect, *changes: tuple[str, str, str]) -> None:
        super().__init__(dialect)
        for name, said, says in changes:
            if said not in self._sources[name]:
                raise AssertionError(f"{name} does not say {said!r} any more; plant the defect anew")
            self._sources[name] = self._sources[name].replace(said, says)
