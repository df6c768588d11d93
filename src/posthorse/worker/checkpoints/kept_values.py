"""Kept values of one attempt, and what a commit may save of them: no value may get ahead of the cursor it belongs to.

Usually one slice is uncommitted at a time, and its commit saves all kept values as they are. But a loop may be left
inside a slice (by `break`, or by an error that is caught outside of it), and loops may be nested. Then a value that an
uncommitted slice changed is saved as it was before, because the next attempt runs that slice again. This module does
not know the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import msgspec

from posthorse.errors import TooLarge, UsageError
from posthorse.rules.values.kept import decode_kept, encode_kept
from posthorse.rules.values.put_back import put_back

KEPT_LIMIT = 4 * 1024 * 1024

Texts = dict[str, str]
"""Values by name, each as it is stored."""


class _Uncommitted(msgspec.Struct):
    """A slice that has begun and is not committed."""

    loop: str
    start: Texts
    """The values when it began, updated with what slices inside of it have changed and committed since."""
    end: Texts | None = None
    """The values when its loop was left; None while its body runs."""

    @property
    def held(self) -> set[str]:
        """Names of the values that the slice changed before its loop was left."""
        return _changed(self.start, self.end or {})


class KeptValues:
    """The kept values by name, as the job sees them and as they may be saved."""

    def __init__(self, saved: str = "{}") -> None:
        self._saved = saved
        self._values = _decoded(saved)
        self._initial: Texts = {}
        """The initial values of those that are not saved yet."""
        self._uncommitted: list[_Uncommitted] = []

    def get(self, name: str, initial: object) -> object:
        """Return the value of this name; `initial` the first time."""
        if name not in self._values:
            self._values[name] = initial
            self._initial |= _texts({name: initial})
        return self._values[name]

    def replace(self, name: str, value: object) -> None:
        """Replace a value."""
        self._values[name] = value

    # ── slices ───────────────────────────────────────────────────────────────────────────────────────

    def begin(self, loop: str, *, is_first: bool) -> None:
        """Begin the body of a slice. If it was left earlier in this attempt, give it the values that it had then.

        is_first: code outside of slices may have changed values since the last commit.
        """
        if self._uncommitted:
            for each in self._uncommitted:
                if each.loop == loop:
                    self._put_back_all(each)
            self._uncommitted = [each for each in self._uncommitted if each.loop != loop]
        as_saved = not (is_first or self._uncommitted)
        self._uncommitted.append(_Uncommitted(loop, {} if as_saved else _texts(self._values)))

    def leave(self, loop: str) -> None:
        """Note that a loop was left. This has no effect if its slice was committed."""
        for each in self._uncommitted:
            if each.loop == loop and each.end is None:
                each.start = self._baseline() | each.start
                each.end = _texts(self._values)

    def commit(self, loop: str) -> None:
        """Note that a slice is committed, and with it the slices that were left inside of it."""
        if self._is_alone(loop):
            self._uncommitted.clear()
            return
        index = self._find(loop)
        if index is not None:
            self._uncommitted[index:] = [each for each in self._uncommitted[index + 1 :] if each.end is None]

    @property
    def is_in_slice(self) -> bool:
        """True while the body of a slice runs."""
        return any(each.end is None for each in self._uncommitted)

    # ── saving ───────────────────────────────────────────────────────────────────────────────────────

    def to_save(self, loop: str | None) -> tuple[str, list[str]]:
        """Return what to save with the slice of a loop, or without one, and the loops that this ends.

        A value that a slice changed before its loop was left, and that was changed again since, can neither be saved
        without that slice nor be held back. So that slice is not run again. Nor is a slice that was left inside of the
        one that is saved. Raises UsageError if a slice and one inside of it changed the same value; TooLarge beyond the
        limit.
        """
        over: list[str] = []
        if not self._uncommitted or self._is_alone(loop):
            self._saved = self._encoded(self._values)
        elif loop is not None or all(each.end is not None for each in self._uncommitted):
            chosen, over = self._chosen(loop)
            self._saved = self._encoded(chosen)
        # otherwise save nothing new: a slice that runs again must meet the values that it met before
        return self._saved, over

    def _chosen(self, loop: str | None) -> tuple[dict[str, object], list[str]]:
        now = _texts(self._values)
        index = self._find(loop)
        others = self._uncommitted if index is None else self._uncommitted[:index]
        baseline = self._baseline()
        if index is None:  # outside of all slices, or a commit without a body
            own = set[str]()
            over = [each for each in others if loop is None and each.held & _changed(each.end or {}, now)]
        else:
            own = _changed(baseline | self._uncommitted[index].start, now)
            over = [each for each in others if each.held & own]
            self._raise_if_changed_around(index, own, baseline)
        inside = [] if index is None else self._uncommitted[index + 1 :]
        self._uncommitted = [each for each in self._uncommitted if each not in over]
        others = [each for each in others if each not in over]
        held = set[str]().union(*(each.held for each in others))
        is_inside = any(each.end is None for each in others)
        at_cursor = _decoded(self._saved)
        chosen: dict[str, object] = {}
        for name, value in self._values.items():
            if name in own or not (is_inside or name in held):
                chosen[name] = value
            elif name in at_cursor:
                chosen[name] = at_cursor[name]
        for each in others:
            each.start |= {name: now[name] for name in own}
        return chosen, [each.loop for each in (*over, *inside) if each.end is not None]

    def _is_alone(self, loop: str | None) -> bool:
        """Return whether the slice of this loop is the only uncommitted one, as usual."""
        return len(self._uncommitted) == 1 and self._uncommitted[0].loop == loop

    def _find(self, loop: str | None) -> int | None:
        return next((index for index, each in enumerate(self._uncommitted) if each.loop == loop), None)

    def _raise_if_changed_around(self, index: int, own: set[str], baseline: Texts) -> None:
        inner = self._uncommitted[index]
        for place, outer in enumerate(self._uncommitted[:index]):
            if outer.end is not None:
                continue
            left = set[str]().union(*(each.held for each in self._uncommitted[place + 1 : index]))
            both = own & _changed(baseline | outer.start, baseline | inner.start) - left
            if both:
                raise UsageError(
                    f"the kept value {min(both)!r} was changed by a slice of loop {outer.loop!r} that is not committed "
                    f"yet, and by loop {inner.loop!r} inside of it, so it cannot be saved with either of them; give "
                    "each loop a kept value of its own, or change it in the outer loop after the inner one"
                )

    def _baseline(self) -> Texts:
        """Return the values as they were last saved, or their initial values."""
        return self._initial | _texts(_decoded(self._saved))

    def _encoded(self, values: Mapping[str, object]) -> str:
        if not values:
            return "{}"
        kept = encode_kept(values)
        if len(kept) > KEPT_LIMIT:
            raise TooLarge(
                f"the kept values take {len(kept):,} bytes and may take {KEPT_LIMIT:,}; keep a summary, or write "
                "rows of your own in batch.transaction()"
            )
        return kept

    # ── going back ───────────────────────────────────────────────────────────────────────────────────

    def mark(self) -> Texts:
        """Return what `undo` needs to restore the values."""
        return _texts(self._values)

    def undo(self, marked: Texts) -> None:
        """Restore all values to a mark, in place if possible."""
        for name in list(self._values):
            self._put_back(name, marked)

    def _put_back_all(self, left: _Uncommitted) -> None:
        now = _texts(self._values)
        for name in left.held - _changed(left.end or {}, now):
            self._put_back(name, left.start)

    def _put_back(self, name: str, texts: Texts) -> None:
        text = texts.get(name, self._initial.get(name))
        if text is not None:
            self._values[name] = put_back(self._values[name], decode_kept(text))


def _decoded(saved: str) -> dict[str, object]:
    kept = decode_kept(saved)
    return cast("dict[str, object]", kept) if isinstance(kept, dict) else {}


def _texts(values: Mapping[str, object]) -> Texts:
    """Return values as they are stored. A value that cannot be stored is left out; the next commit raises the error."""
    texts: Texts = {}
    for name, value in values.items():
        try:
            texts[name] = encode_kept(value)
        except ValueError:
            continue
    return texts


def _changed(before: Texts, now: Texts) -> set[str]:
    return {name for name, text in now.items() if _differ(before.get(name), text)}


def _differ(one: str | None, other: str) -> bool:
    """Return whether two stored values differ. Sets whose items cannot be sorted are stored in any order."""
    if one is None or one == other:
        return one is None
    return "set" not in other or decode_kept(one) != decode_kept(other)
