"""Choose how the values of one annotation are stored: as plain JSON, or in the form of kept values.

If JSON and the annotation determine the value, msgspec writes plain JSON and rebuilds the value from it. If they leave
it open (`str | UUID`, a dict with tuples as keys), the value is stored in the form of kept values, which says what each
part is. This module knows nothing of parameters.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any, cast

import msgspec

from posthorse.rules.arguments.shape import shape_of
from posthorse.rules.values.classes import Class, is_model
from posthorse.rules.values.kept import ClassNames, pack, unpack
from posthorse.rules.values.msgspec_json import carried_by, restored
from posthorse.rules.values.type_mismatch import TypeMismatch


class ArgumentCodec(msgspec.Struct, frozen=True):
    check: Callable[[object], None]
    """Raises TypeMismatch for a value that cannot be stored."""
    wire: object
    """The type for a msgspec decoder whose hook is `restored`."""
    pack: Callable[[object], object] | None = None
    """Makes what is encoded instead of a checked value; None: the value itself is encoded."""
    on_trial: bool = False
    """Whether building the user's classes runs their code, so that only a trial shows if values come back the same."""
    is_comparable: bool = True
    """Whether all of these classes define equality."""
    has_sets: bool = False


def codec_of(annotation: object) -> ArgumentCodec:
    shape = shape_of(annotation, {})
    names = _names(shape.classes)
    objects = [kind for kind in names if not issubclass(kind, Enum)]
    codec = ArgumentCodec(
        shape.check,
        annotation,
        on_trial=bool(objects),
        # Models also compare private attributes, which are not stored; their own check compares the fields.
        is_comparable=not any(kind.__eq__ is object.__eq__ or is_model(kind) for kind in objects),
        has_sets=shape.has_sets,
    )
    if shape.is_clear and _msgspec_carries(annotation):
        return codec
    return msgspec.structs.replace(
        codec,
        wire=carried_by(functools.partial(unpack, names=names)),
        pack=functools.partial(pack, names=names),
    )


def no_codec(complaint: str) -> ArgumentCodec:
    def refuse(value: object) -> None:
        raise TypeMismatch(complaint, value)

    return ArgumentCodec(refuse, carried_by(refuse))


def _msgspec_carries(annotation: object) -> bool:
    try:
        msgspec.json.Decoder(cast("type[Any]", annotation), dec_hook=restored)
    except (TypeError, NameError, RecursionError):  # msgspec evaluates the annotation itself
        return False
    return True


def _names(classes: Iterable[Class]) -> ClassNames:
    """Name each class; add the module if two share a name."""
    counted = Counter(kind.__qualname__ for kind in classes)
    return {
        kind: kind.__qualname__ if counted[kind.__qualname__] == 1 else f"{kind.__module__}.{kind.__qualname__}"
        for kind in classes
    }
