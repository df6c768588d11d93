"""`posthorse health`: a probe of a store and of one worker, for container orchestrators, systemd and load balancers."""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import NamedTuple

import click

from posthorse.app.client import Posthorse
from posthorse.cli.exits import Exit
from posthorse.cli.local_processes import belongs_to, look_at_process
from posthorse.cli.screen import clean, out, out_json
from posthorse.cli.target import find_store, is_empty, json_option, no_file, target_options
from posthorse.cli.time_limits import Looks, NoReply
from posthorse.cli.wording import span
from posthorse.errors import StoreError
from posthorse.rules.health import Health, RegisteredRunner, StoreFound, of_store, of_worker
from posthorse.rules.options.checks import checked_span
from posthorse.store import migrate
from posthorse.store.operations.runners import RunnerSeen, runners_of
from posthorse.views.health import HealthView


class Named(NamedTuple):
    """The worker that a probe is for: by its name, or by a process of this machine."""

    name: str | None
    pid: int | None

    @property
    def local_pid(self) -> int | None:
        """Its process on this machine; None if it is on another one, or embedded in a process that the name does not
        tell.
        """
        if self.name is None:
            return self.pid
        host, _, number = self.name.rpartition(":")
        return int(number) if host == socket.gethostname() and number.isdecimal() else None

    def has(self, runner: RunnerSeen) -> bool:
        """Return whether a runner is one of it. An earlier worker may have had the name, so of a process that is here
        only runners count that run here.
        """
        if self.name is not None and runner.worker != self.name:
            return False
        pid = self.local_pid
        return pid is None or (runner.host == socket.gethostname() and belongs_to(runner.pid, pid))


class HealthLook(NamedTuple):
    """What a look at the store found; no beats if it was not asked for a worker, or cannot tell."""

    store: StoreFound
    beats: list[RegisteredRunner] | None = None


@click.command()
@click.option("--worker", "name", metavar="NAME", help="A worker, as `posthorse workers` names it: host:pid.")
@click.option("--pid", metavar="PID", type=click.IntRange(1), help="The worker that is this process, or in it.")
@click.option("--live", is_flag=True, help="Ask whether the worker lives, which does not depend on the store.")
@click.option("--ready", is_flag=True, help="Ask whether it takes jobs now: this is also the default.")
@click.option("--timeout", metavar="SPAN", default="5s", help="End after this at the latest; else 5s.")
@target_options
@json_option
def health(
    name: str | None,
    pid: int | None,
    live: bool,
    ready: bool,
    timeout: str,
    target: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Probe the store and one worker, by exit code.

    Ends with 0 if all is well, 5 if the store cannot be used, and 1 if the worker does not live (--live) or takes no
    jobs (--ready). Without a worker it probes the store alone. It imports no application unless you give --app.

    \b
      posthorse health
      posthorse health --pid 1 --live
      posthorse health --pid 1 --ready --timeout 3s --json
    """
    context = click.get_current_context()
    if name is not None and pid is not None:
        raise click.UsageError("give --worker or --pid, not both", context)
    if live and ready:
        raise click.UsageError("give --live or --ready, not both; --ready asks for more", context)
    named = None if name is None and pid is None else Named(name, pid)
    if named is None and (live or ready):
        raise click.UsageError("say which worker: --pid PID or --worker NAME", context)
    seconds = checked_span(timeout, name="--timeout")
    app = Posthorse(url) if target is None else find_store(target, url)
    looks = Looks(seconds, each=seconds)
    try:
        found = _look(app, named, looks)
    finally:
        if not looks.is_stuck:  # what hangs holds locks that closing waits for
            app.close()
    concluded = _conclude(found, named)
    is_well = _is_well(concluded, named, live=live)
    if as_json:
        out_json(HealthView.of(concluded, is_ok=is_well, where=app.store.where, schema=found.store.schema))
    else:
        out(_sentence(concluded, named, app.store.where))
    if is_well:
        return Exit.OK
    return Exit.UNREACHABLE if _is_the_stores_fault(concluded, live=live) else Exit.JOB_FAILED


def _look(app: Posthorse, named: Named | None, looks: Looks) -> HealthLook:
    """Look at the store within the time that there is. A server that is away is not asked again."""
    is_file = app.store.backend.capabilities.is_file
    app.store.backend.wait_at_most(looks.each / 2 if is_file else 0.0)
    try:
        return looks.at("store", lambda: _look_at_store(app, named))
    except NoReply as late:
        return HealthLook(StoreFound(None, f"the store gave no answer within {span(timedelta(seconds=late.seconds))}"))
    except StoreError as error:
        return HealthLook(StoreFound(None, str(error).partition("; find it with")[0]))


def _look_at_store(app: Posthorse, named: Named | None) -> HealthLook:
    if is_empty(app):
        return HealthLook(StoreFound(None, no_file(app)))
    version = app.store.schema_version()
    if version != migrate.SCHEMA_VERSION:
        has = "no tables of Posthorse" if version is None else f"version {version} of the schema"
        return HealthLook(StoreFound(version, f"the store has {has}; this Posthorse needs {migrate.SCHEMA_VERSION}"))
    if named is None:
        return HealthLook(StoreFound(version))
    seen = app.store.read(runners_of(worker=named.name, host=socket.gethostname()))
    beats = [RegisteredRunner(bool(one.is_alive), bool(one.is_draining)) for one in seen if named.has(one)]
    return HealthLook(StoreFound(version), beats)


def _conclude(found: HealthLook, named: Named | None) -> Health:
    if named is None:
        return of_store(found.store)
    pid = named.local_pid
    return of_worker(found.store, None if pid is None else look_at_process(pid), found.beats)


def _is_well(concluded: Health, named: Named | None, *, live: bool) -> bool:
    asked = concluded.store if named is None else concluded.live if live else concluded.ready
    return bool(asked)


def _is_the_stores_fault(concluded: Health, *, live: bool) -> bool:
    """Return whether nothing but the store keeps the answer from being yes, as far as is known."""
    return concluded.live is None if live else not concluded.store


def _sentence(concluded: Health, named: Named | None, where: str) -> str:
    told = [f"store {_yes(concluded.store)} ({clean(where)})"]
    if named is not None:
        told += [f"live {_yes(concluded.live)}", f"ready {_yes(concluded.ready)}"]
    return "; ".join([", ".join(told), *(clean(problem) for problem in concluded.problems)])


def _yes(answer: bool | None) -> str:
    return "unknown" if answer is None else "yes" if answer else "no"
