"""Options that are written as a table of fields, or as text: "completed=7d,failed=forever"."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import cast

from posthorse.errors import InvalidOption
from posthorse.rules.values.type_mismatch import short


def named_fields(value: object, names: Collection[str], *, of: str) -> dict[str, object] | None:
    """Return the fields of a table or a text by name; None for a value that is neither.

    Raises InvalidOption, which names the option and the nearest name, for a field that is not one of `names`.
    """
    if isinstance(value, str) and "=" in value:
        pairs = (part.partition("=") for part in value.split(","))
        value = {name.strip(): text.strip() for name, _, text in pairs}
    if not isinstance(value, Mapping):
        return None
    fields = cast("Mapping[object, object]", value)
    for name in fields:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
            raise InvalidOption(f"{of} has no {short(name)}; {hint}")
    return {str(name): one for name, one in fields.items()}
