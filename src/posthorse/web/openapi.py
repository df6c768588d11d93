"""The description of the API by OpenAPI 3.1, made of the table of routes and the structs that it names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

import msgspec

from posthorse.version import VERSION
from posthorse.web.access import Permission, Scope
from posthorse.web.problems import MEANINGS, MEDIA_TYPE, TYPE, ProblemView
from posthorse.web.route import JSON, AnyRoute

REFERENCE = "#/components/schemas/{name}"

Described = dict[str, Any]


def describe(routes: Sequence[AnyRoute], *, root: str) -> Described:
    """Return the description of these routes. `root`: the path at which the service is mounted."""
    types = list(dict.fromkeys(_types(routes)))
    schemas, components = msgspec.json.schema_components(types, ref_template=REFERENCE, schema_hook=_anything)
    known = dict(zip(types, schemas, strict=True))
    paths: dict[str, Described] = defaultdict(dict)
    for route in routes:
        paths[route.path.replace(":path}", "}")][route.method.lower()] = _operation(route, known)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Posthorse", "version": VERSION, "description": "Durable background jobs."},
        "servers": [{"url": root or "/"}],
        "paths": dict(paths),
        "components": {"schemas": components},
    }


def _anything(wanted: type) -> Described:
    """Return the schema of `object`, of which msgspec knows none. An empty one would count as none, too."""
    return {"description": "any JSON value"}


def _types(routes: Sequence[AnyRoute]) -> Iterator[object]:
    """Yield the types of all bodies, in both directions, and of all parameters."""
    yield ProblemView
    for route in routes:
        if route.has_body:
            yield route.body
        yield from _answered(route)
        yield from (field.type for field in msgspec.structs.fields(route.query))


def _answered(route: AnyRoute) -> Iterator[object]:
    for views in route.answers.values():
        yield from (view for view in _each(views) if view not in (None, bytes))


def _each(views: object) -> tuple[object, ...]:
    """Return the types of an answer; a tuple means one of them."""
    return cast("tuple[object, ...]", views) if isinstance(views, tuple) else (views,)


def _operation(route: AnyRoute, known: Mapping[object, Described]) -> Described:
    operation: Described = {
        "operationId": route.name,
        "summary": route.summary,
        "description": "\n\n".join(filter(None, [route.handler.__doc__, route.query.__doc__])),
        "tags": [route.path.removeprefix("/api/v1").strip("/").partition("/")[0].partition(":")[0] or "service"],
        "parameters": [*_path_parameters(route), *_query_parameters(route, known), *_headers(route)],
        "responses": dict(_responses(route, known)),
    }
    if route.has_body:
        operation["requestBody"] = {
            "required": not route.may_lack_body,
            "content": {JSON: {"schema": known[route.body]}},
        }
    return operation


def _path_parameters(route: AnyRoute) -> Iterator[Described]:
    for name in re.findall(r"\{(\w+)", route.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameters(route: AnyRoute, known: Mapping[object, Described]) -> Iterator[Described]:
    for field in msgspec.structs.fields(route.query):
        schema = known[field.type]
        if field.default is not msgspec.NODEFAULT and field.default is not None:
            schema = schema | {"default": field.default}
        yield {"name": field.encode_name, "in": "query", "required": field.required, "schema": schema}


def _headers(route: AnyRoute) -> Iterator[Described]:
    for name, meaning in route.headers.items():
        yield {"name": name, "in": "header", "description": meaning, "schema": {"type": "string"}}


def _responses(route: AnyRoute, known: Mapping[object, Described]) -> Iterator[tuple[str, Described]]:
    for status, views in sorted(route.answers.items()):
        yield str(status), {"description": HTTPStatus(status).phrase} | _content(_each(views), known)
    for status, names in sorted(_problems(route).items()):
        if status not in route.answers:
            described = ", ".join(f"`{TYPE}{name}`" for name in names)
            yield str(status), {"description": described, "content": {MEDIA_TYPE: {"schema": known[ProblemView]}}}


def _content(views: tuple[object, ...], known: Mapping[object, Described]) -> Described:
    if views == (None,):
        return {}
    if views == (bytes,):
        return {"content": {"text/plain": {"schema": {"type": "string"}}}}
    schemas = [known[view] for view in views]
    return {"content": {JSON: {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}}}


def _problems(route: AnyRoute) -> Mapping[int, Sequence[str]]:
    """Return which problems a request may meet, by status."""
    found: dict[int, list[str]] = defaultdict(list)
    for error in route.raises:
        meaning = MEANINGS[error]
        found[meaning.status].append(meaning.name)
    if route.needs is not Permission.NOTHING:
        found[401].append("unauthenticated")
        found[403].append("forbidden")
    if route.scope is not Scope.PROCESS:
        found[503] += ["store-unreachable", "took-too-long", "schema-mismatch"]
    if route.has_body:
        found[400].append("malformed-json")
        found[408].append("too-slow")
        found[413].append("too-large")
        found[415].append("unsupported-media-type")
    if (route.has_body or msgspec.structs.fields(route.query)) and "invalid-value" not in found[422]:
        found[422].append("invalid-value")
    for status, name in route.problems.items():
        found[status].append(name)
    return {status: list(dict.fromkeys(names)) for status, names in found.items() if names}
