"""Store the arguments of a function as one JSON object by parameter name, such as `{"user_id":7}`.

This module binds a call, and rebuilds the call from what was stored. It checks no values and words no errors.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any, cast

import msgspec
from msgspec import UNSET

from posthorse.rules.arguments.codec import ArgumentCodec
from posthorse.rules.values.msgspec_json import encode, encode_in_order, restored


class Form:
    """The parameters as a msgspec Struct with one field each; UNSET means that the call leaves the default in force."""

    def __init__(self, parameters: list[Parameter], codecs: dict[str, ArgumentCodec]) -> None:
        struct, self.fill = _struct(parameters, codecs)
        self.struct = struct
        self.decode = msgspec.json.Decoder(struct, dec_hook=restored).decode
        self.encode = encode_in_order if any(each.has_sets for each in codecs.values()) else encode
        self.names = struct.__struct_fields__
        self.checks = [(name, codecs[name].check) for name in self.names]
        self.packs = [(name, codec.pack) for name, codec in codecs.items() if codec.pack]
        self.on_trial = any(codec.on_trial for codec in codecs.values())
        self.compared = {name for name, each in codecs.items() if each.on_trial and each.is_comparable}
        self.required = [each.name for each in parameters if is_required(each)]
        self.has_required = bool(self.required)
        self._is_plain = all(is_required(each) and each.kind in POSITIONAL for each in parameters)
        # Copied to plain attributes: those of inspect.Parameter are properties, and slow.
        self._places = [(each.kind in POSITIONAL, each.kind, each.name, each.default) for each in parameters]

    def only(self, values: Mapping[str, object]) -> msgspec.Struct:
        """Return these values alone; every other parameter is left out, as required as it may be."""
        return self.struct(**{name: values.get(name, UNSET) for name in self.names})

    def call(self, filled: msgspec.Struct) -> tuple[tuple[object, ...], dict[str, object]]:
        """Return the call that binds to these values, as `args` and `kwargs`."""
        if self._is_plain:
            return values_of(filled), {}
        by_position: list[Any] = []
        by_name: dict[str, Any] = {}
        last = 0
        for (is_positional, kind, name, default), value in zip(self._places, values_of(filled), strict=True):
            if is_positional:
                # A default before a given positional argument must be filled in.
                by_position.append(default if value is UNSET else value)
                last = last if value is UNSET else len(by_position)
            elif value is UNSET:
                continue
            elif kind is Parameter.VAR_POSITIONAL:
                by_position.extend(cast("tuple[object, ...]", value))
                last = len(by_position)
            elif kind is Parameter.VAR_KEYWORD:
                by_name.update(cast("dict[str, object]", value))
            else:
                by_name[name] = value
        return tuple(by_position[:last]), by_name


POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)

values_of: Callable[[msgspec.Struct], tuple[Any, ...]] = msgspec.structs.astuple


def is_required(parameter: Parameter) -> bool:
    return parameter.default is Parameter.empty and parameter.kind in (*POSITIONAL, *NAMED)


def _struct(
    parameters: list[Parameter], codecs: dict[str, ArgumentCodec]
) -> tuple[type[msgspec.Struct], Callable[..., msgspec.Struct]]:
    """Make the Struct and the function that binds a call to it: the Struct itself if it binds as Python would."""
    binds_alike = all(each.kind in NAMED for each in parameters)
    by_position: list[Any] = []
    by_name: list[Any] = []
    for each in parameters:
        wire = codecs[each.name].wire
        fields = by_position if binds_alike and each.kind in POSITIONAL else by_name
        fields.append((each.name, wire) if is_required(each) else (each.name, wire, UNSET))
    base = msgspec.defstruct("Positional", by_position)
    struct = msgspec.defstruct("Arguments", by_name, bases=(base,), kw_only=True, forbid_unknown_fields=True)
    if binds_alike:
        return struct, struct
    signature = inspect.Signature(parameters)
    return struct, lambda *args, **kwargs: struct(**signature.bind(*args, **kwargs).arguments)
