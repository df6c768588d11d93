"""What an import loads: importing Posthorse loads only what is used, and type checkers still see every name."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import posthorse as ph

WORKERS = {
    "posthorse.maintenance",
    "posthorse.worker.embedded",
    "posthorse.worker.running.job_loop",
    "posthorse.worker.checkpoints.batch",
    "posthorse.worker.checkpoints.slices",
    "posthorse.worker.checkpoints.sources",
}
LIBRARIES = {
    "apsw",
    "asyncpg",
    "click",
    "cronsim",
    "django",
    "httptools",
    "jinja2",
    "multiprocessing",
    "opentelemetry",
    "prometheus_client",
    "psycopg",
    "rich",
    "sqlalchemy",
    "starlette",
    "uvicorn",
    "uvloop",
    "websockets",
}

DECLARING = """
import posthorse as ph
app = ph.Posthorse({url!r})
@app.job
def welcome(ctx: ph.Context, user: int) -> int:
    return user
"""


def loaded_by(program: str) -> set[str]:
    """Return the modules that a new Python process has loaded after this program."""
    told = f"{program}\nimport sys\nprint(*sys.modules)"
    # `make coverage` would load its own modules first.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    ran = subprocess.run([sys.executable, "-c", told], env=environment, capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


def test_the_import_loads_none_of_the_rooms_and_no_library() -> None:
    loaded = loaded_by("import posthorse")
    assert {name for name in loaded if name.startswith("posthorse.")} == {"posthorse.version"}
    assert not loaded & (LIBRARIES | {"asyncio", "msgspec", "sqlite3"})


def test_an_application_that_enqueues_loads_nothing_of_a_worker(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    loaded = loaded_by(DECLARING.format(url=url) + "welcome.enqueue(7).status()\n")
    assert "posthorse.store.sqlite.backend" in loaded
    assert not loaded & (WORKERS | LIBRARIES | {"posthorse.app.schedules"})
    assert not [name for name in loaded if name.startswith("posthorse.store.postgres")]


def test_a_worker_that_does_not_listen_loads_nothing_of_metrics() -> None:
    loaded = loaded_by("import posthorse.processes.supervisor, posthorse.processes.runner")
    ours = {name for name in loaded if name.startswith(("posthorse.telemetry.", "posthorse.processes.http"))}
    assert ours == {"posthorse.telemetry.tracing"}
    assert "prometheus_client" not in loaded


def test_a_mounted_service_loads_no_server_and_nothing_of_a_worker() -> None:
    loaded = loaded_by("import posthorse.web")
    assert "starlette" in loaded
    unwanted = LIBRARIES | {"posthorse.worker.embedded", "posthorse.maintenance"}
    assert not loaded & (unwanted - {"cronsim", "starlette"})


def test_the_command_line_loads_no_room_before_it_knows_the_command() -> None:
    loaded = loaded_by("import posthorse.cli.root")
    assert "click" in loaded
    rooms = ("posthorse.app", "posthorse.store", "posthorse.worker", "posthorse.maintenance")
    assert not {name for name in loaded if name.startswith(rooms)}
    assert not loaded & ((LIBRARIES | {"asyncio", "sqlite3"}) - {"click"})


def test_names_are_found_where_type_checkers_are_told_that_they_are() -> None:
    tree = ast.parse(Path(str(ph.__file__)).read_text(encoding="utf-8"))
    [shown] = [
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "typing.TYPE_CHECKING"
    ]
    told = {
        alias.asname or alias.name: statement.module
        for statement in shown.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert told == vars(ph)["_HOMES"]
    assert sorted([*told, "__version__"]) == sorted(ph.__all__)


def test_every_public_name_is_listed_before_it_was_used() -> None:
    listed = subprocess.run(
        [sys.executable, "-c", "import posthorse; print(*dir(posthorse))"], capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(ph.__all__) <= set(listed)


def test_a_name_that_is_none_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'posthorse' has no attribute 'Postman'"):
        getattr(ph, "Postman")  # noqa: B009 - a checker would see it
