"""What `inspect` and `help()` show for methods that take `**options`: each option of the table, with its line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import TypeVar

from posthorse.rules.options.option import Option, OptionPlace
from posthorse.rules.options.table import options_at

F = TypeVar("F", bound=Callable[..., object])


def takes(place: OptionPlace, *, defaults: Mapping[str, object] = {}) -> Callable[[F], F]:
    """Give a method with `**options` a signature and a docstring that name the options of that place.

    defaults: by name; options without one show None, which means that they are not given.
    """

    def give(method: F) -> F:
        signature = inspect.signature(method)
        own = [each for each in signature.parameters.values() if each.kind is not Parameter.VAR_KEYWORD]
        taken = [option for name, option in options_at(place).items() if name not in signature.parameters]
        named = [Parameter(one.name, Parameter.KEYWORD_ONLY, default=_default(one, defaults)) for one in taken]
        shown = signature.replace(parameters=[*own, *named])
        method.__signature__ = shown  # type: ignore[attr-defined]  # inspect reads it
        if method.__doc__ is not None:
            lines = "\n".join(f"{option.name}: {option.line}" for option in taken)
            method.__doc__ = f"{inspect.cleandoc(method.__doc__)}\n\n{lines}\n"
        return method

    return give


def _default(option: Option, defaults: Mapping[str, object]) -> object:
    return Parameter.empty if option.is_required else defaults.get(option.name)
