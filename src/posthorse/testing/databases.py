"""Databases for tests on a PostgreSQL server: each a clone of one template, which has the schema already."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from urllib.parse import urlsplit, urlunsplit

from posthorse.errors import InvalidOption
from posthorse.rules.values.type_mismatch import short
from posthorse.store.store import Store

_numbers = count(1)
_templates: dict[str, str] = {}
"""The template of each server, by the address that the caller gave."""


@contextmanager
def postgres(url: str, *, schema: str = "posthorse") -> Iterator[str]:
    """Yield the address of an empty database with a schema of Posthorse, and drop it afterwards.

    ::

        @pytest.fixture
        def posthorse_url():
            with pt.postgres("postgresql://localhost/postgres") as url:
                yield url

    url: any database of the server, as a role that may create databases. schema: that of your settings.

    The first call in a process makes a template, which is dropped when the process ends. Raises InvalidOption, and what
    psycopg raises.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        raise InvalidOption(f"{short(url)} is not the address of a PostgreSQL server; write postgresql://host/database")
    template = _template_on(url, schema)
    name = f"{template}_{next(_numbers)}"
    _execute(url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield _of_database(url, name)
    finally:
        _execute(url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _template_on(url: str, schema: str) -> str:
    key = f"{url} {schema} {os.getpid()}"
    if key not in _templates:
        name = f"posthorse_tests_{os.getpid()}_{len(_templates)}"
        _execute(url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', f'CREATE DATABASE "{name}"')
        store = Store(_of_database(url, name), schema=schema)
        store.migrate()
        store.close()
        _templates[key] = name
        atexit.register(_drop_at_exit, url, name)
    return _templates[key]


def _drop_at_exit(url: str, name: str) -> None:
    with suppress(Exception):  # the server may have ended before
        _execute(url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _of_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def _execute(url: str, *statements: str) -> None:
    import psycopg

    with closing(psycopg.connect(url, autocommit=True)) as connection:
        for statement in statements:
            connection.execute(statement.encode())
