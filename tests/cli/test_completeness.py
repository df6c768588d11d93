"""Completeness of the commands, found in click's tree: each is documented with its options, speaks JSON, and ends
well."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from posthorse.cli.exits import Exit
from posthorse.cli.root import root
from posthorse.store.postgres.backend import PostgresBackend
from tests.cli.conftest import Shop

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
COMMON = {"--json", "--app", "--url"}
UNKNOWN = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command below this one, with its words; groups as well, because they do something by themselves."""
    if path:
        yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from walk(inner, (*path, name))


COMMANDS = dict(walk(root))
IDS = [" ".join(path) for path in COMMANDS]

INVOCATIONS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("run",): ("run", "welcome", "7", "--quiet"),
    ("enqueue",): ("enqueue", "welcome", "7"),
    ("jobs",): ("jobs",),
    ("show",): ("show", "JOB"),
    ("why",): ("why", "JOB"),
    ("logs",): ("logs", "JOB"),
    ("bad-items",): ("bad-items", "JOB"),
    ("watch",): ("watch", "DONE"),
    ("events",): ("events",),
    ("wait",): ("wait", "DONE"),
    ("workers",): ("workers",),
    ("schedules",): ("schedules",),
    ("schedules", "next"): ("schedules", "next", "nightly"),
    ("schedules", "pause"): ("schedules", "pause", "nightly"),
    ("schedules", "resume"): ("schedules", "resume", "nightly"),
    ("schedules", "trigger"): ("schedules", "trigger", "nightly"),
    ("schedules", "forget"): ("schedules", "forget", "nightly"),
    ("stock",): ("stock",),
    ("stock", "why"): ("stock", "why", "vouchers"),
    ("stock", "level"): ("stock", "level", "vouchers", "3"),
    ("stock", "refill"): ("stock", "refill", "vouchers"),
    ("stock", "empty"): ("stock", "empty", "vouchers"),
    ("stock", "forget"): ("stock", "forget", "vouchers"),
    ("report",): ("report",),
    ("tokens",): ("tokens",),
    ("tokens", "create"): ("tokens", "create", "shop", "--role", "submitter"),
    ("tokens", "rotate"): ("tokens", "rotate", "TOKEN"),
    ("tokens", "revoke"): ("tokens", "revoke", "TOKEN"),
    ("queues",): ("queues",),
    ("queues", "pause"): ("queues", "pause", "mail"),
    ("queues", "resume"): ("queues", "resume", "mail"),
    ("queues", "drain"): ("queues", "drain", "mail"),
    ("queues", "set"): ("queues", "set", "mail", "weight=2"),
    ("queues", "reset"): ("queues", "reset", "mail"),
    ("pause",): ("pause", "JOB"),
    ("resume",): ("resume", "JOB"),
    ("cancel",): ("cancel", "JOB"),
    ("retry",): ("retry", "CANCELLED"),
    ("discard",): ("discard", "--all", "state:failed"),
    ("parts",): ("parts", "CUT", "2"),
    ("send-event",): ("send-event", "approved", "--job", "JOB"),
    ("delete",): ("delete", "CANCELLED"),
    ("prune",): ("prune",),
    ("migrate",): ("migrate",),
    ("health",): ("health",),
    ("doctor",): ("doctor",),
    ("bench",): ("bench", "--jobs", "100"),
}
"""How to call each command, except `worker` and `serve`, which do not end by themselves; others test them."""


def chapter_of(path: tuple[str, ...]) -> str:
    found = re.search(rf"^### {path[0]}$(.*?)(?=^##|\Z)", MANUAL, re.MULTILINE | re.DOTALL)
    assert found, f"docs/cli.md has no chapter {path[0]}"
    return found[1]


@pytest.mark.parametrize("path", COMMANDS, ids=IDS)
def test_every_command_is_documented_with_its_options(path: tuple[str, ...]) -> None:
    chapter = chapter_of(path)
    if len(path) > 1:
        usage = rf"posthorse {path[0]} (?:[a-z]+\|)*{path[1]}\b"
        assert re.search(usage, chapter), f"the chapter {path[0]} does not show {path[1]}"
    for parameter in COMMANDS[path].params:
        if isinstance(parameter, click.Option) and not parameter.hidden and not COMMON & set(parameter.opts):
            assert any(re.search(rf"{option}\b", chapter) for option in parameter.opts), f"{path} {parameter.opts}"


@pytest.mark.parametrize("path", COMMANDS, ids=IDS)
def test_every_command_explains_itself_and_its_options(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{path} {parameter.opts}"
    options = {option for parameter in command.params for option in parameter.opts}
    assert COMMON - ({"--app"} if path == ("bench",) else set()) <= options  # it uses an application of its own


def test_every_usage_in_the_manual_exists() -> None:
    for line in re.findall(r"^    (?:\w+=\$\()?posthorse ([a-z-]+(?: .*)?)$", MANUAL, re.MULTILINE):
        name, *rest = line.split()
        command = COMMANDS.get((name,))
        assert command is not None, line
        known = {option for parameter in command.params for option in parameter.opts}
        known |= {
            option
            for path, inner in COMMANDS.items()
            if path[0] == name
            for parameter in inner.params
            for option in parameter.opts
        }
        for word in " ".join(rest).partition("|")[0].replace("[", " ").replace("]", " ").split():
            if word == "--":
                break
            if word.startswith("-"):
                assert word.rstrip("…)") in known, (line, word)


def test_every_command_that_the_documents_name_exists() -> None:
    for page in (*ROOT.glob("docs/**/*.md"), ROOT / "README.md"):
        for name in re.findall(r"`posthorse ([a-z][a-z-]*)", page.read_text(encoding="utf-8")):
            assert (name,) in COMMANDS, f"{page.name}: posthorse {name}"


def test_every_exit_code_is_documented() -> None:
    documented = re.findall(r"^\| (\d+) \|", MANUAL, re.MULTILINE)
    assert [int(code) for code in documented] == [code.value for code in Exit]


def test_every_command_is_tried() -> None:
    assert set(INVOCATIONS) | {("worker",), ("serve",)} == set(COMMANDS)


@pytest.fixture
def words_of(shop: Shop) -> dict[str, str]:
    """Return words that stand for the jobs of a small store, with a schedule, a stock and a queue."""
    job, done, cancelled = (shop.done("enqueue", "welcome", number) for number in "123")
    shop.done("cancel", done)
    shop.done("cancel", cancelled)
    with (shop.folder / "shop.py").open("a", encoding="utf-8") as file:
        file.write('\napp.schedule(welcome.bind(1), name="nightly", cron="0 3 * * *")\n')
        file.write('app.stock(welcome.bind(1), level=2, name="vouchers")\n')
        file.write("\n\n@app.job(shards=3)\ndef cut(ctx: ph.Context) -> None: ...\n")
    shop.forget()
    cut = shop.done("enqueue", "cut")
    shop.done("schedules", "resume", "nightly")
    token = shop.done("tokens", "create", "shop", "--role", "viewer").split("_")[1]
    return {"JOB": job, "DONE": done, "CANCELLED": cancelled, "TOKEN": token, "CUT": cut}


@pytest.mark.parametrize("path", INVOCATIONS, ids=" ".join)
def test_every_command_prints_json_on_stdout_and_words_on_stderr(
    shop: Shop, words_of: dict[str, str], path: tuple[str, ...]
) -> None:
    shop.close()
    shop.forget()
    words = [words_of.get(word, word) for word in INVOCATIONS[path]]
    result = shop.run(*words, "--json")
    assert result.exit_code in (Exit.OK, Exit.UNSERVED if path == ("doctor",) else Exit.CANCELLED), result.output
    lines = result.stdout.splitlines()
    assert lines or path in (("logs",), ("events",)), "a line for each line, and there are none"
    for line in lines:
        json.loads(line)
    for line in result.stderr.splitlines():
        assert not line.startswith(("{", "[")), "data went to stderr"


@pytest.mark.parametrize("path", COMMANDS, ids=IDS)
def test_an_option_that_is_none_is_wrong_usage_everywhere(shop: Shop, path: tuple[str, ...]) -> None:
    result = shop.run(*path, "--jsom")
    assert (result.exit_code, result.stdout) == (Exit.USAGE, "")
    assert "--json" in result.stderr, "the nearest option is named"
    assert f"Try `posthorse {' '.join(path)} --help`." in result.stderr


@pytest.mark.parametrize("path", INVOCATIONS, ids=" ".join)
def test_a_store_that_cannot_be_reached_ends_with_five_everywhere(
    shop: Shop, words_of: dict[str, str], path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("target", "doctor", "bench"):
        importlib.import_module(f"posthorse.cli.{module}")
        monkeypatch.setattr(f"posthorse.cli.{module}.FIRST_PATIENCE", 0.1)
    waits: list[float] = []
    wait_at_most = PostgresBackend.wait_at_most

    def noting(backend: PostgresBackend, seconds: float) -> None:
        waits.append(seconds)
        wait_at_most(backend, seconds)

    monkeypatch.setattr(PostgresBackend, "wait_at_most", noting)
    shop.close()
    shop.forget()
    words = [words_of.get(word, word) for word in INVOCATIONS[path]]
    result = shop.run(*words, "--url", "postgresql://ada:canary@127.0.0.1:1/none")
    assert result.exit_code == Exit.UNREACHABLE, result.output
    assert "canary" not in result.output
    assert "Traceback" not in result.output
    assert max(waits, default=0) <= 0.1, "none is patient with a server that never answered"


@pytest.mark.parametrize(
    "name", ["show", "bad-items", "watch", "wait", "pause", "resume", "cancel", "retry", "discard", "delete"]
)
def test_a_job_that_is_not_there_ends_with_three_everywhere(shop: Shop, name: str) -> None:
    shop.done("migrate")
    result = shop.run(name, UNKNOWN)
    assert (result.exit_code, result.stdout) == (Exit.NOT_FOUND, "")
    assert UNKNOWN in result.stderr
