"""Providers that a test replaces: every job that is claimed meanwhile gets its resources from their replacements.

A kind is planned anew with the replacements and put into the registry, from which a worker takes it at each claim. So
workers know nothing of replacements, and a replacement may take resources and a context, as any provider.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from types import TracebackType
from typing import Self

import msgspec

from posthorse.app.client import Posthorse
from posthorse.errors import InvalidOption
from posthorse.rules.depends import check_provider
from posthorse.rules.registry import Registered, Registry
from posthorse.rules.resources import Provider, Replacements, Resources

_numbers = count(1)


class Override:
    """One replacement, in effect from its making until it is undone: by `undo`, its `with` block, or its test."""

    def __init__(self, overrides: Overrides, provider: Provider, replacement: Provider) -> None:
        self.provider = provider
        self.replacement = replacement
        self._overrides = overrides

    def undo(self) -> None:
        """Let jobs have the provider again that they had before. To undo it once more does nothing."""
        self._overrides.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo()


class Overrides:
    """The replacements of a test, the newest last; of two for the same provider the newest counts."""

    def __init__(self, apps: Sequence[Posthorse]) -> None:
        self._apps = apps
        self._open: list[Override] = []
        self._originals: dict[tuple[Registry, str], tuple[Registered, Resources]] = {}
        """The kinds that take resources, as they were before any replacement."""

    def add(self, provider: Provider, replacement: Provider) -> Override:
        """Replace a provider. Raises InvalidOption if no job takes it, or the replacement cannot take its place."""
        for given in (provider, replacement):
            check_provider(given, "override()")
        self._learn_kinds()
        self._raise_if_unused(provider)
        made = Override(self, provider, replacement)
        self._open.append(made)
        try:
            self._apply()
        except InvalidOption:
            self.remove(made)
            raise
        return made

    def remove(self, override: Override) -> None:
        """Take a replacement back, whichever came after it."""
        if override in self._open:
            self._open.remove(override)
            self._apply()

    def close(self) -> None:
        """Take all replacements back."""
        self._open.clear()
        self._apply()

    def _learn_kinds(self) -> None:
        """Note the kinds that were declared since the last replacement."""
        for app in self._apps:
            for name in app.registry:
                kind = app.registry[name]
                if kind.kind == name and kind.resources is not None:
                    self._originals.setdefault((app.registry, name), (kind, kind.resources))

    def _apply(self) -> None:
        replacements = Replacements({one.provider: one.replacement for one in self._open}, next(_numbers))
        for (registry, _), (kind, resources) in self._originals.items():
            planned = kind.signature.plan_resources(replacements) if self._open else resources
            registry.put(kind if planned == resources else msgspec.structs.replace(kind, resources=planned))
        if not self._open:
            self._originals.clear()

    def _raise_if_unused(self, provider: Provider) -> None:
        taken = [
            resource
            for (registry, name), (_, original) in self._originals.items()
            for resources in (original, registry[name].resources or original)
            for resource in resources.order
        ]
        if not any(resource.provider == provider for resource in taken):
            known = ", ".join(sorted({resource.name for resource in taken})) or "none"
            name = getattr(provider, "__qualname__", repr(provider))
            raise InvalidOption(
                f"no job of this kit's applications takes a resource of {name}, so there is nothing to replace; name "
                f"the provider as ph.depends(…) does, after its jobs were declared. Providers are: {known}"
            )
