"""One route: what leads to a handler, who may call it, what it reads and what it returns. `routes` has them all."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeGuard, TypeVar

import msgspec
from starlette.datastructures import Headers

from posthorse.errors import PosthorseError
from posthorse.web.access import Access, Permission, Scope

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse
    from posthorse.telemetry.store_samples import StoreSamples
    from posthorse.web.waits import Waits

Q = TypeVar("Q")
B = TypeVar("B")

JSON = "application/json"
MAX_BODY = 5 * 1024 * 1024
"""Bytes of a body, where the route says no other: the arguments of a job may take four fifths of that."""

_PARAMETER = re.compile(r"\{(\w+)(:path)?\}")


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A route without query parameters."""


@dataclass(frozen=True, slots=True)
class Asked(Generic[Q, B]):
    """One request, as a handler reads it. `root`: the path at which the service is mounted, as addresses have it."""

    app: Posthorse
    waits: Waits
    samples: StoreSamples
    access: Access
    path: Mapping[str, str]
    query: Q
    body: B
    headers: Headers
    root: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler returns: a view, which becomes JSON, or a text as it is."""

    view: object
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    media_type: str = JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(Generic[Q, B]):
    """A method and a path. Who may call it has no default, so a route cannot be added without it.

    path: below the service; `{name}` is one step of it, `{name:path}` the rest.
    needs, scope: see `Access.may`.
    query, body: the structs that are read; a route without a body ignores one.
    answers: the type of the body for each status; None for an empty one, bytes for a text, a tuple for one of several.
    headers: the request headers that it reads, with what they mean.
    raises, problems: what the handler may raise beyond what every route may; for the description of the API.
    """

    method: str
    path: str
    handler: Callable[[Asked[Q, B]], Awaitable[Answer]]
    summary: str
    needs: Permission
    scope: Scope
    query: type[Q]
    body: type[B]
    answers: Mapping[int, object]
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    raises: Sequence[type[PosthorseError]] = ()
    problems: Mapping[int, str] = field(default_factory=dict[int, str])
    max_body: int = MAX_BODY

    @property
    def has_body(self) -> bool:
        """Whether it reads a body."""
        return self.body is not type(None)

    @property
    def may_lack_body(self) -> bool:
        """Whether a request without a body means one in which nothing is said."""
        wanted: object = self.body
        return is_struct(wanted) and not any(one.required for one in msgspec.structs.fields(wanted))

    @property
    def name(self) -> str:
        """The name of its handler, which is unique."""
        return self.handler.__name__

    def pattern(self) -> re.Pattern[str]:
        """Return what its path looks like."""
        parts: list[str] = []
        last = 0
        for found in _PARAMETER.finditer(self.path):
            parts += [re.escape(self.path[last : found.start()]), f"(?P<{found[1]}>{'.+' if found[2] else '[^/]+'})"]
            last = found.end()
        return re.compile("".join([*parts, re.escape(self.path[last:])]), re.DOTALL)


def is_struct(wanted: object) -> TypeGuard[type[msgspec.Struct]]:
    """Return whether a type is a struct."""
    return isinstance(wanted, type) and issubclass(wanted, msgspec.Struct)


AnyRoute = Route[Any, Any]
"""A route in a table of many."""
