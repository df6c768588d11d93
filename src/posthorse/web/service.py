"""The service as an ASGI application: it finds the route of a request, and passes it through guards to its handler.

1. The path leads to a route, or to 404 or 405.
2. Guards look at the host and the origin.
3. One `Access` says who asks, and must be allowed to call the route.
4. Query and body are read into structs.
5. The handler returns an answer; an error becomes a problem.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from posthorse.errors import PosthorseError
from posthorse.store.patience import waiting_at_most
from posthorse.telemetry.store_samples import StoreSamples
from posthorse.web.access import EVERYTHING, Access, Permission
from posthorse.web.bodies import decode, read_body
from posthorse.web.guards import SAFE, check_host, check_origin
from posthorse.web.login import Authenticate, Login
from posthorse.web.problems import (
    MEDIA_TYPE,
    Problem,
    invalid_parameter,
    not_found,
    problem_of,
    refused,
)
from posthorse.web.route import Answer, AnyRoute, Asked
from posthorse.web.routes import ROUTES
from posthorse.web.waits import Waits

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from posthorse.app.client import Posthorse
    from posthorse.store.store import Store

log = logging.getLogger("posthorse.web")

STORE_WAIT = 2.0
"""Seconds that a request waits for a store that is away; then the client gets 503, and may ask again."""

MAX_DECODED_HERE = 1024 * 1024
"""Bytes of a body beyond which a thread decodes it, so that other requests need not wait for that."""

ON_EVERY_ANSWER = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def service(app: Posthorse, *, authenticate: Authenticate | None = None) -> Service:
    """Make the HTTP service of an application, to mount it in another ASGI application.

    ::

        api.mount("/jobs", service(app, authenticate=who))

    authenticate: tells from a request of Starlette who makes it, as an `Access` or None; it may be a coroutine
        function. Who is unknown to it may still show a token of `posthorse tokens`.

    Nothing starts before the first request, so it works where mounted applications get no lifespan.
    """
    return Service(app, authenticate=authenticate)


class Service:
    """The HTTP service of one application; make it with `service`.

    hosts: the names under which it is reached; None if they are not checked here.
    is_open: whether every request may do everything while there are no tokens, because only this machine can make any.
    """

    def __init__(
        self,
        app: Posthorse,
        *,
        authenticate: Authenticate | None = None,
        hosts: Collection[str] | None = None,
        is_open: bool = False,
    ) -> None:
        self._app = app
        self._login = Login(app, authenticate, is_open=is_open)
        self._hosts = hosts
        self._waits = Waits()
        self._sampled: tuple[Store, StoreSamples] | None = None

    def beside(self, other: ASGIApp, *, at: str) -> ASGIApp:
        """Return one application of two: this one at a path such as "/jobs", and the other one elsewhere.

        For applications that cannot mount others, such as Django's.
        """
        prefix = f"/{at.strip('/')}"

        async def both(scope: Scope, receive: Receive, send: Send) -> None:
            is_ours = scope["type"] == "http" and f"{_path_of(scope)}/".startswith(f"{prefix}/")
            if is_ours:
                scope = {**scope, "root_path": scope.get("root_path", "") + prefix}
            await (self if is_ours else other)(scope, receive, send)

        return both

    def stop(self) -> None:
        """End requests that wait for jobs, because the server stops. Call it in the event loop of the server."""
        self._waits.stop()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await _pass_lifespan(receive, send)
        elif scope["type"] == "http":
            request = Request(scope, receive)
            try:
                response = await self._answer(request)
            except ClientDisconnect:
                return
            await response(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, request: Request) -> Response:
        try:
            return _response(await self._handled(request), is_head=request.method == "HEAD")
        except Problem as problem:
            return _problem_response(problem)
        except PosthorseError as error:
            problem_of_it = problem_of(error)
            if problem_of_it is None:
                return _defect(request)
            if problem_of_it.status >= 500:
                log.warning("%s %r failed: %s", request.method, request.scope["path"], error)
            return _problem_response(problem_of_it)
        except ClientDisconnect:
            raise
        except Exception:
            return _defect(request)

    async def _handled(self, request: Request) -> Answer:
        check_host(request.headers, self._hosts)
        route, path = _find(request)
        check_origin(request.method, request.headers)
        with waiting_at_most(STORE_WAIT):
            return await self._asked(request, route, path)

    async def _asked(self, request: Request, route: AnyRoute, path: Mapping[str, str]) -> Answer:
        access = await self._access_for(request, route)
        query = _read_query(request, route)
        body = await _read_body(request, route) if route.has_body else None
        asked = Asked(
            app=self._app,
            waits=self._waits,
            samples=self._samples(),
            access=access,
            path=path,
            query=query,
            body=body,
            headers=request.headers,
            root=quote(request.scope.get("root_path", "")),
        )
        answer = await route.handler(asked)
        if request.method not in SAFE:
            log.info("%r: %s %r, %d", access.name, request.method, request.scope["path"], answer.status)
        return answer

    def _samples(self) -> StoreSamples:
        """Return the samples of the store that the application uses now, because all requests share them."""
        store = self._app.store
        if self._sampled is None or self._sampled[0] is not store:
            self._sampled = store, StoreSamples(store, lease=self._app.settings.lease)
        return self._sampled[1]

    async def _access_for(self, request: Request, route: AnyRoute) -> Access:
        """Return who asks. Raises Problem if that is unknown, or they may not call the route."""
        if route.needs is Permission.NOTHING:
            return NOT_ASKED
        access = await self._login.access_of(request)
        if access.tenant is not None and route.scope is route.scope.STORE:
            raise refused("this concerns the whole store, and these credentials are for one tenant")
        if not access.may(route.needs, route.scope):
            raise refused(f"the role {access.role} may not do that")
        return access


NOT_ASKED = EVERYTHING
"""The access of routes that show nothing of jobs, and ask for no login."""

_TABLE: Sequence[tuple[re.Pattern[str], AnyRoute]] = [(route.pattern(), route) for route in ROUTES]


def _find(request: Request) -> tuple[AnyRoute, Mapping[str, str]]:
    """Return the route of a request and the parameters in its path. Raises Problem."""
    path = _path_of(request.scope)
    found = [(route, matched) for pattern, route in _TABLE if (matched := pattern.fullmatch(path))]
    method = "GET" if request.method == "HEAD" else request.method
    for route, matched in found:
        if route.method == method:
            return route, matched.groupdict()
    if not found:
        raise not_found("there is no such path; /api/v1/openapi.json describes those that exist")
    allowed = ", ".join(sorted({route.method for route, _ in found}))
    raise Problem(405, "method-not-allowed", "Method not allowed", f"use {allowed}", headers={"Allow": allowed})


def _path_of(scope: Scope) -> str:
    """Return the path below that at which the service is mounted."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path[len(root) :] if f"{path}/".startswith(f"{root}/") else path


def _read_query(request: Request, route: AnyRoute) -> object:
    """Read the query parameters of a route. Raises Problem."""
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            raise invalid_parameter(name, "it is given twice")
        given[name] = value
    known = route.query.__struct_fields__
    for name in given:
        if name not in known:
            raise invalid_parameter(name, f"there is no such parameter; known are {', '.join(known) or 'none'}")
    for name, value in given.items():  # one by one, so that it is known which one is wrong
        try:
            msgspec.convert({name: value}, route.query, strict=False)
        except msgspec.ValidationError as error:
            raise invalid_parameter(name, str(error).partition(" - at")[0].replace("`", "")) from None
    return msgspec.convert(given, route.query, strict=False)


async def _read_body(request: Request, route: AnyRoute) -> object:
    """Read the body of a request; where nothing in it is needed, it may be left out. Raises Problem."""
    sends_none = request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers
    if sends_none and route.may_lack_body:
        return route.body()
    body = await read_body(request, route.max_body)
    if len(body) <= MAX_DECODED_HERE:
        return decode(body, route.body)
    return await asyncio.to_thread(decode, body, route.body)


async def _pass_lifespan(receive: Receive, send: Send) -> None:
    """Say that there is nothing to start and nothing to stop."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _response(answer: Answer, *, is_head: bool) -> Response:
    view = answer.view
    content = b"" if view is None else view if isinstance(view, bytes) else msgspec.json.encode(view)
    headers = {**ON_EVERY_ANSWER, **answer.headers}
    if view is not None:
        headers["Content-Type"] = answer.media_type
    response = Response(b"" if is_head else content, answer.status, headers)
    if is_head and view is not None:
        response.headers["Content-Length"] = str(len(content))
    return response


def _problem_response(problem: Problem, *, trace_id: str | None = None) -> Response:
    headers = {**ON_EVERY_ANSWER, **problem.headers, "Content-Type": MEDIA_TYPE}
    return Response(msgspec.json.encode(problem.view(trace_id=trace_id)), problem.status, headers)


def _defect(request: Request) -> Response:
    """Log an error that was not expected; the client is told only under which id."""
    trace_id = secrets.token_hex(8)
    log.exception("%s %r failed [%s]", request.method, request.scope["path"], trace_id)
    detail = "the service failed; its log says why, under the trace_id"
    return _problem_response(Problem(500, "internal", "Internal error", detail), trace_id=trace_id)
