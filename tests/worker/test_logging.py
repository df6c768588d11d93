"""Logging: whatever the application configures, failures are logged by its handlers, in its format."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import posthorse as ph

SHOP = """
import logging, logging.config
{configure}
import posthorse as ph

app = ph.Posthorse("sqlite:///shop.db", grace="2s")


@app.job(max_attempts=1)
def fails() -> None:
    raise ValueError("no good")


@app.job(max_attempts=1, isolation="process")
def fails_apart(ctx: ph.Context) -> None:
    ctx.log.error("apart: no good")
    raise ValueError("no good either")
"""

EMBEDDED = """
from shop import app, fails
import logging.config
logging.config.dictConfig({"version": 1, "formatters": {"ours": {"format": "OURS %(message)s"}},
    "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "ours"}}, "root": {"handlers": ["h"]}})
job = fails.enqueue()
with app.worker():
    try:
        job.result(timeout=60)
    except Exception as error:
        print(error)
"""

BY_DICT = """
logging.config.dictConfig({
    "version": 1,
    "formatters": {"ours": {"format": "OURS %(name)s %(message)s"}},
    "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "ours"}},
    "root": {"handlers": ["h"], "level": "INFO"},
})
"""

BY_FILE = """
import configparser, io
logging.config.fileConfig(io.StringIO('''
[loggers]
keys=root
[handlers]
keys=h
[formatters]
keys=ours
[logger_root]
level=INFO
handlers=h
[handler_h]
class=StreamHandler
formatter=ours
args=()
[formatter_ours]
format=OURS %(name)s %(message)s
'''))
"""


BY_DJANGO = """
import os
import django

os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
django.setup()
"""

SITE_SETTINGS = """
LOGGING = {
    "version": 1,
    "disable_existing_loggers": True,
    "formatters": {"ours": {"format": "OURS %(name)s %(message)s"}},
    "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "ours"}},
    "root": {"handlers": ["h"], "level": "INFO"},
}
"""


def log_of_a_worker(folder: Path) -> str:
    """Return what a worker logs until both jobs have failed."""
    command = [sys.executable, "-m", "posthorse"]
    jobs = [
        subprocess.run(
            [*command, "enqueue", "--app", "shop:app", kind], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()
        for kind in ("fails", "fails_apart")
    ]
    worker = subprocess.Popen([*command, "worker", "--app", "shop:app"], cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        waiting = [*command, "wait", "--app", "shop:app", *jobs, "--timeout", "60s"]
        assert subprocess.run(waiting, cwd=folder, capture_output=True).returncode == 1
    finally:
        worker.terminate()
        _, log = worker.communicate(timeout=60)
    return log


@pytest.mark.parametrize("configure", [BY_DICT, BY_FILE, BY_DJANGO], ids=["dictConfig", "fileConfig", "Django"])
def test_a_configuration_that_disables_loggers_leaves_those_of_a_worker(tmp_path: Path, configure: str) -> None:
    (tmp_path / "shop.py").write_text(SHOP.format(configure=configure), encoding="utf-8")
    (tmp_path / "site_settings.py").write_text(SITE_SETTINGS, encoding="utf-8")
    ours = [line for line in log_of_a_worker(tmp_path).splitlines() if line.startswith("OURS posthorse.")]
    told = "\n".join(ours)
    assert "ValueError: no good\n" in f"{told}\n"
    assert "ValueError: no good either" in told
    assert "OURS posthorse.job apart: no good" in told
    assert "runner 0" in told, "the supervisor is heard, too"
    app = ph.Posthorse(f"sqlite:///{tmp_path}/shop.db")
    with closing(app):
        [job] = app.jobs(kind="fails_apart")
        assert [line.message for line in job.logs()] == ["apart: no good"], "and lines of jobs are stored"


def test_a_configuration_that_comes_before_an_embedded_worker_leaves_it_audible(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP.format(configure=""), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", EMBEDDED], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert "OURS job" in done.stderr
    assert "ValueError: no good" in done.stderr


def test_a_logger_that_the_application_silences_by_its_level_stays_silent(tmp_path: Path) -> None:
    silence = "logging.getLogger('posthorse.worker').setLevel(logging.CRITICAL)"
    (tmp_path / "shop.py").write_text(SHOP.format(configure=silence), encoding="utf-8")
    assert "no good\n" not in log_of_a_worker(tmp_path).replace("apart: no good\n", "")
