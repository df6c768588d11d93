"""Commands and the bus: registered once, run here or as jobs of any worker."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pydantic
import pytest

import posthorse as ph

POSTHORSE = Path(sys.executable).with_name("posthorse")


@dataclass(frozen=True)
class SendMail(ph.Command[str]):
    to: str
    copies: list[str] = field(default_factory=list)


class SendFax(msgspec.Struct, ph.Command[str]):
    to: str
    copies: list[str] = []


class SendNote(pydantic.BaseModel):
    to: str = pydantic.Field(min_length=1)
    copies: list[str] = []


class SendCard:
    def __init__(self, to: str, copies: list[str] | None = None) -> None:
        self.to = to
        self.copies = copies or []


AnyMail = SendMail | SendFax | SendNote | SendCard
COMMANDS: list[type[AnyMail]] = [SendMail, SendFax, SendNote, SendCard]


@dataclass
class Double:
    number: int

    def execute(self) -> int:
        return 2 * self.number


@dataclass
class DoubleLater:
    number: int

    async def execute(self, ctx: ph.Context) -> str:
        await asyncio.sleep(0)
        return f"{2 * self.number} in attempt {ctx.attempt}"


def send(command: AnyMail) -> str:
    return f"{type(command).__name__} to {', '.join([command.to, *command.copies])}"


async def asend(command: AnyMail) -> str:
    await asyncio.sleep(0)
    return send(command)


class Sender:
    def handle(self, command: AnyMail) -> str:
        return send(command)


class Calling:
    def __call__(self, command: AnyMail) -> str:
        return send(command)


def with_context(ctx: ph.Context, command: AnyMail) -> str:
    assert ctx.job_id
    return send(command)


@pytest.fixture
def app(store_url: str) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(store_url)
    yield app
    app.close()


@pytest.fixture
def own(sqlite_url: str) -> Iterator[ph.Posthorse]:
    """An application on SQLite alone, for what does not depend on the store."""
    app = ph.Posthorse(sqlite_url)
    yield app
    app.close()


@pytest.fixture
def bus() -> ph.CommandBus:
    return ph.CommandBus()


def test_commands_of_every_form_run_here_and_as_jobs(app: ph.Posthorse, bus: ph.CommandBus) -> None:
    for command in COMMANDS:
        bus.register(command, send)
    bus.register(Double)
    app.include(bus)
    sent = [command(to="ann", copies=["bob"]) for command in COMMANDS]
    expected = [f"{command.__name__} to ann, bob" for command in COMMANDS]
    assert [bus.handle(each) for each in sent] == expected
    with app.worker():
        jobs = [bus.enqueue(each) for each in sent]
        assert [job.result(timeout="30s") for job in jobs] == expected
        assert [job.status().kind for job in jobs] == [command.__name__ for command in COMMANDS]
        assert bus.enqueue(Double(21)).result(timeout="30s") == bus.handle(Double(21)) == 42


@pytest.mark.parametrize("handler", [send, asend, Sender, Sender(), Calling, Calling(), Sender().handle, with_context])
def test_handlers_of_every_form_do_it(own: ph.Posthorse, handler: Callable[..., object]) -> None:
    own.bus.register(SendMail, handler)
    with own.worker():
        assert own.bus.enqueue(SendMail("ann")).result(timeout="30s") == "SendMail to ann"
    if handler is not with_context:
        assert own.bus.handle(SendMail("ann")) == "SendMail to ann"


def test_a_class_of_handlers_makes_one_for_each_command(bus: ph.CommandBus) -> None:
    class Counting:
        def __init__(self) -> None:
            self.count = 0

        def handle(self, command: Double) -> int:
            self.count += command.number
            return self.count

    bus.register(Double, Counting)
    assert (bus.handle(Double(1)), bus.handle(Double(1))) == (1, 1)


def test_execute_may_be_async_and_take_the_context(own: ph.Posthorse) -> None:
    own.bus.register(DoubleLater)
    with own.worker():
        assert own.bus.enqueue(DoubleLater(4)).result(timeout="30s") == "8 in attempt 1"


def test_handle_refuses_a_handler_that_needs_the_context_of_a_job(bus: ph.CommandBus) -> None:
    bus.register(SendMail, with_context)
    with pytest.raises(ph.InvalidCall, match=r"the handler of SendMail takes ctx: ph.Context, and only a job has one"):
        bus.handle(SendMail("ann"))

    def perhaps(ctx: ph.Context | None, command: Double) -> bool:
        return ctx is None

    bus.register(Double, perhaps)
    assert bus.handle(Double(1)) is True


def test_coroutines_await_handlers_and_leave_plain_ones_to_a_thread(app: ph.Posthorse) -> None:
    def where(command: Double) -> bool:
        return threading.current_thread() is threading.main_thread()

    app.bus.register(SendMail, asend)
    app.bus.register(Double, where)

    async def main() -> None:
        assert await app.bus.ahandle(SendMail("ann")) == "SendMail to ann"
        assert await app.bus.ahandle(Double(1)) is False
        with pytest.raises(ph.InvalidCall, match=r"handle\(\) cannot run it inside a running event loop; await"):
            app.bus.handle(SendMail("ann"))
        job = await app.bus.aenqueue(SendMail("ann"))
        assert (await job.astatus()).kind == "SendMail"
        assert (await app.bus.using(queue="slow").aenqueue(SendMail("ann"))).id != job.id

    asyncio.run(main())


def test_a_command_without_a_handler_is_refused_with_the_nearest_name(bus: ph.CommandBus) -> None:
    bus.register(SendMail, send)
    for use in (bus.handle, bus.enqueue, bus.bind, bus.using(delay=1).enqueue):
        with pytest.raises(
            ph.UnknownCommand, match=r"bus\.register\(SendFax, handler\) is missing; did you mean SendMa"
        ):
            use(SendFax("ann"))
    with pytest.raises(ph.UnknownKind, match="known are: SendMail"):
        bus.handle(7)
    with pytest.raises(ph.UnknownCommand, match=r"SendMail is a class; a bus takes an object of it: SendMail\(…\)"):
        bus.handle(SendMail)


def test_fields_are_checked_before_anything_runs_or_is_stored(own: ph.Posthorse) -> None:
    own.bus.register(SendMail, send)
    wrong = SendMail(to=7)  # type: ignore[arg-type]  # refused
    for use in (own.bus.handle, own.bus.enqueue):
        with pytest.raises(ph.InvalidArgument, match=r"SendMail\(\): argument to must be str; got int 7"):
            use(wrong)
    assert own.jobs().count() == 0


def test_options_are_those_of_jobs(app: ph.Posthorse) -> None:
    calls: list[str] = []

    def flaky(command: SendMail) -> str:
        calls.append(command.to)
        if len(calls) == 1:
            raise OSError
        return "sent"

    app.bus.register(SendMail, flaky, kind="mail", queue="post", unique=ph.Unique(by=["to"]), backoff=0)
    first = app.bus.enqueue(SendMail("ann"))
    assert app.bus.enqueue(SendMail("ann", ["bob"])).id == first.id
    assert (first.status().kind, first.status().queue) == ("mail", "post")
    slow = app.bus.using(queue="slow", priority=5, tags=["t"], key="k").enqueue(SendMail("eve"))
    assert (slow.status().queue, slow.status().priority, slow.status().tags) == ("slow", 5, ("t",))
    many = app.enqueue_many([app.bus.bind(SendMail(to)) for to in ("kim", "lee")])
    assert app.jobs("kind:mail").count() == 2 + len(many)
    with app.worker():
        assert slow.result(timeout="30s") == "sent"
        assert first.result(timeout="30s") == "sent"
    assert {job.status().attempt for job in (first, slow)} == {1, 2}


def test_limits_may_depend_on_a_field(own: ph.Posthorse) -> None:
    own.bus.register(SendMail, send, concurrency=ph.Concurrency(1, per="to"))
    with pytest.raises(ph.InvalidOption, match="not one of its parameters"):
        own.bus.register(Double, concurrency=ph.Concurrency(1, per="to"))
    with own.worker():
        assert own.bus.enqueue(SendMail("ann")).result(timeout="30s") == "SendMail to ann"


def test_middleware_runs_around_the_job_of_a_command_and_not_around_handle(own: ph.Posthorse) -> None:
    seen: list[object] = []

    @own.around
    def note(attempt: ph.RunningAttempt) -> Iterator[None]:
        seen.append((attempt.kind, attempt.arguments["to"]))
        yield

    own.bus.register(SendMail, send)
    own.bus.handle(SendMail("ann"))
    with own.worker():
        own.bus.enqueue(SendMail("bob")).result(timeout="30s")
    assert seen == [("SendMail", "bob")]


def test_the_bus_of_an_application_knows_those_that_it_includes(
    own: ph.Posthorse, bus: ph.CommandBus, tmp_path: Path
) -> None:
    other = ph.Posthorse(f"sqlite:///{tmp_path}/other.db")
    bus.register(SendMail, send)
    with pytest.raises(ph.InvalidCall, match="no application includes"):
        bus.enqueue(SendMail("ann"))
    own.include(bus, prefix="a.")
    assert bus.enqueue(SendMail("ann")).status().kind == "a.SendMail"
    other.include(bus)
    with pytest.raises(ph.InvalidCall, match=r"2 applications include; choose one: .*, or app\.bus for a command"):
        bus.enqueue(SendMail("ann"))
    assert own.bus.enqueue(SendMail("ann")).status().kind == "a.SendMail"
    assert other.bus.enqueue(SendMail("ann")).status().kind == "SendMail"
    assert own.bus.handle(SendMail("ann")) == "SendMail to ann"
    other.exclude(bus)
    with pytest.raises(ph.UnknownCommand):
        other.bus.handle(SendMail("ann"))
    other.close()


def test_a_bus_declares_kinds_without_commands_too(own: ph.Posthorse, bus: ph.CommandBus) -> None:
    @bus.job
    def plain(number: int) -> int:
        return number

    own.include(bus)
    assert plain.enqueue(3).status().kind == "plain"


def test_register_decorates_a_command_with_execute(own: ph.Posthorse) -> None:
    @own.bus.register
    class Triple(msgspec.Struct):
        number: int

        def execute(self) -> int:
            return 3 * self.number

    assert own.bus.handle(Triple(3)) == 9


class Positional:
    def __init__(self, *names: str) -> None: ...


class Forgetful:
    def __init__(self, to: str) -> None: ...


def wrong_handler(one: int, other: int) -> None: ...


def generating(command: SendMail) -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("command", "handler", "complaint"),
    [
        (SendMail("ann"), send, "a command is a class, such as a dataclass, not SendMail"),
        (SendMail, None, r"SendMail has no handler: register\(SendMail, handler\), or give it a method execute"),
        (SendMail, 7, "7 cannot handle SendMail: a handler is a function, or a class with a method handle"),
        (SendMail, wrong_handler, r"the handler of SendMail cannot be called for one: it takes the command, after ctx"),
        (SendMail, generating, "has a yield"),
        (Positional, send, r"Positional cannot be a command: .* its parameter \*names: "),
    ],
)
def test_what_cannot_be_registered_is_refused(
    bus: ph.CommandBus, command: type, handler: Callable[[object], object] | None, complaint: str
) -> None:
    with pytest.raises(ph.InvalidOption, match=complaint):
        bus.register(command, handler)
    assert not bus.commands
    assert not bus.functions


def test_a_command_has_one_handler(bus: ph.CommandBus) -> None:
    bus.register(SendMail, send)
    with pytest.raises(ph.DuplicateKind, match="SendMail has a handler on this bus already"):
        bus.register(SendMail, asend, kind="other")


def test_a_command_that_forgets_a_field_cannot_be_stored(bus: ph.CommandBus) -> None:
    bus.register(Forgetful, lambda command: None)
    with pytest.raises(ph.InvalidCall, match="keep each in an attribute of the same name"):
        bus.handle(Forgetful("ann"))


PACKAGE = """
from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date

import posthorse as ph

bus = ph.CommandBus()


@dataclass
class Bill(ph.Command[str]):
    customer: int
    day: date


def bill(command: Bill) -> str:
    return f"{type(command).__name__} {command.customer} {command.day:%d.%m.%Y} by {os.getpid()}"


bus.register(Bill, bill, queue="billing")


class Alone(Bill):
    pass


bus.register(Alone, bill, isolation="process")
"""
APPLICATION = """
import posthorse as ph
from billing_from_outside import Bill, bill, bus

app = ph.Posthorse({url!r})
app.include(bus)


class Own(Bill):
    pass


app.bus.register(Own, bill, isolation="process")
"""


@pytest.fixture
def outside(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that ships commands, and an application that includes it, in folders of their own."""
    package = tmp_path / "lib" / "billing_from_outside"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(textwrap.dedent(PACKAGE), encoding="utf-8")
    (tmp_path / "shop_with_commands.py").write_text(APPLICATION.format(url=store_url), encoding="utf-8")
    for folder in (tmp_path / "lib", tmp_path):
        monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "lib"), str(tmp_path)]))
    yield tmp_path
    for name in ("billing_from_outside", "shop_with_commands"):
        sys.modules.pop(name, None)


def test_a_real_worker_runs_the_command_of_a_package_from_outside(outside: Path) -> None:
    from datetime import date

    import shop_with_commands  # type: ignore[import-not-found]  # written above

    app: ph.Posthorse = shop_with_commands.app
    app.migrate()
    package = sys.modules["billing_from_outside"]
    kinds = (package.Bill, package.Alone, shop_with_commands.Own)
    command = [str(POSTHORSE), "worker", "--app", "shop_with_commands:app", "--processes", "1"]
    with (outside / "worker.log").open("wb") as log:
        worker = subprocess.Popen(command, cwd=outside, stdout=log, stderr=log)
    try:
        for kind in kinds:
            said = app.bus.enqueue(kind(7, date(2026, 12, 1))).result(timeout="60s")
            assert isinstance(said, str)
            assert said.startswith(f"{kind.__name__} 7 01.12.2026 by ")
            assert said != f"{kind.__name__} 7 01.12.2026 by {os.getpid()}"
    finally:
        worker.terminate()
        worker.wait(timeout=30)
        app.close()


@pytest.mark.usefixtures("outside")
def test_a_child_process_of_an_embedded_worker_finds_the_commands() -> None:
    from datetime import date

    import shop_with_commands

    app: ph.Posthorse = shop_with_commands.app
    package = sys.modules["billing_from_outside"]
    with app.worker():
        for kind in (shop_with_commands.Own, package.Alone):  # a child that knows Alone would find Own in any case
            said = app.bus.enqueue(kind(7, date(2026, 12, 1))).result(timeout="60s")
            assert isinstance(said, str)
            assert said.startswith(f"{kind.__name__} 7 01.12.2026 by ")
            assert not said.endswith(f" {os.getpid()}")
    app.close()
