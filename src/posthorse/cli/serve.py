"""`posthorse serve`: the HTTP service, in a process of its own."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path

import click

from posthorse.app.client import Posthorse
from posthorse.cli.exits import Exit
from posthorse.cli.screen import clean, out_json, say
from posthorse.cli.target import json_option, open_store, target_options
from posthorse.errors import InvalidOption, InvalidSettings
from posthorse.store.operations.queues import live_layers
from posthorse.store.operations.tokens import has_tokens
from posthorse.version import VERSION
from posthorse.worker.base.log_formats import LogFormat

FILE = "unix:"


@click.command()
@click.option(
    "--listen",
    "listen_at",
    metavar="ADDRESS",
    default="127.0.0.1:8080",
    help="HOST:PORT, a port alone, or unix:PATH; else 127.0.0.1:8080.",
)
@click.option(
    "--host",
    "hosts",
    metavar="NAME",
    multiple=True,
    help="A name under which the service is reached, beside those of this machine; may be repeated.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    help="How much to tell on stderr; else info.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json", "logfmt"]),
    default="text",
    help="How to write it; else text.",
)
@target_options
@json_option
def serve(
    listen_at: str,
    hosts: Sequence[str],
    log_level: str,
    log_format: LogFormat,
    target: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Serve the HTTP API until stopped.

    A store in a file is made if there is none. Without an application, jobs can be read and steered, but not
    submitted. While the store has no tokens, every request may do everything, and it listens on this machine
    alone; `posthorse tokens create` makes one.

    \b
      posthorse serve --app shop:app
      posthorse serve --url sqlite:///shop.db --listen unix:/run/posthorse.sock
    """
    if find_spec("uvicorn") is None or find_spec("starlette") is None:
        raise InvalidSettings("`posthorse serve` needs other packages: pip install 'posthorse[web]'")
    from posthorse.web.guards import LOOPBACK_NAMES
    from posthorse.web.service import Service
    from posthorse.web.serving import run_server
    from posthorse.worker.base.log_lines import configure_logging

    app = open_store(target, url)
    app.store.read(live_layers())  # a store that cannot be used ends it here, and not each request
    needs_token = app.store.read(has_tokens())
    listening, is_file, is_local = _listening(listen_at, needs_token=needs_token)
    # A page that reaches a service by a name of its own has no token, so names matter where none is needed.
    checks_names = bool(hosts) or (is_local and not is_file)
    service = Service(app, hosts={*LOOPBACK_NAMES, *map(str.lower, hosts)} if checks_names else None, is_open=is_local)
    configure_logging(log_level, log_format)
    address = listen_at if is_file else _address(listening)
    try:
        run_server(service, listening, lambda: _greet(app, address, needs_token=needs_token, as_json=as_json))
    finally:
        if is_file:
            Path(listen_at.removeprefix(FILE)).unlink(missing_ok=True)
    return Exit.OK


def _listening(text: str, *, needs_token: bool) -> tuple[socket.socket, bool, bool]:
    """Return a socket that listens there, whether that is a file, and whether only this machine reaches it.

    Raises InvalidOption.
    """
    from posthorse.processes.http_server import checked_address, listening_socket
    from posthorse.web.serving import listen_at_file

    if text.startswith(FILE):
        return listen_at_file(text.removeprefix(FILE)), True, True
    host, _ = checked_address(text)
    is_local = _is_of_this_machine(host)
    if not is_local and not needs_token:
        raise InvalidOption(
            f"--listen {text} would let every machine that reaches it do everything, because the store has no tokens; "
            "listen on 127.0.0.1 or unix:PATH, or make a token first: posthorse tokens create NAME --role admin"
        )
    return listening_socket(text), False, is_local


def _is_of_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _greet(app: Posthorse, address: str, *, needs_token: bool, as_json: bool) -> None:
    kinds = sorted(app.registry)
    if as_json:
        out_json({"store": app.store.where, "address": address, "kinds": kinds})
        return
    say(f"posthorse {VERSION} serves {clean(app.store.where)}")
    say(f"  at      {address}/api/v1")
    say(f"  kinds   {clean(', '.join(kinds)) or 'none: jobs can be read and steered, but not submitted'}")
    say(f"  access  {'with a token' if needs_token else 'every request from this machine may do everything'}")
