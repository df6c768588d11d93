"""`posthorse queues`: show the state of queues, and change settings at once and beyond deploys."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import click
import msgspec

from posthorse.app.client import Posthorse
from posthorse.cli.exits import Exit
from posthorse.cli.screen import clean, out, out_json, say
from posthorse.cli.tables import Column, out_table
from posthorse.cli.target import hand_down, is_empty, json_lines_of, json_option, open_store, target_options
from posthorse.cli.wording import short_span
from posthorse.rules.job import State, checked_name
from posthorse.rules.queues import DEFAULTS, QueueSettings, checked_layer, checked_words, settings_in_words
from posthorse.store.operations.limits import LimitRow, limits_at_work
from posthorse.store.operations.queues import read_queues
from posthorse.views.queue import QueueView, queue_views, unused

if TYPE_CHECKING:
    from rich.text import Text

STYLES = {"open": "green", "paused": "yellow", "draining": "cyan", "closed": "bright_black"}
OF_STATE = frozenset({"paused", "draining"})
MAX_LIMITS = 20


@click.group(invoke_without_command=True)
@target_options
@json_option
@click.pass_context
def queues(ctx: click.Context, target: str | None, url: str | None, as_json: bool) -> int:
    """List queues: what waits in them, which workers serve them, and their settings.

    A queue is open, paused, draining (it accepts no new jobs), or closed (outside its window). OLDEST is how long
    the first job has waited; WORKERS counts the runners that serve the queue. With --app, the settings in the
    application's code and file are included. Below are the limits in use, with the jobs that each holds back.

    \b
      posthorse queues
      posthorse queues pause mail
      posthorse queues set mail weight=3 rate=100/s
      posthorse queues reset mail
    """
    if ctx.invoked_subcommand is not None:
        hand_down(ctx, target=target, url=url, as_json=as_json)
        return Exit.OK
    app = open_store(target, url)
    listed = _listed(app)
    if as_json:
        out_json(listed.views)
    elif listed.views:
        _print_table(listed)
        _print_limits(app.store.look(limits_at_work(MAX_LIMITS)))
    else:
        say("There is no queue yet: the first job makes one.")
    return Exit.OK


@queues.command()
@click.argument("names", metavar="NAME…", nargs=-1, required=True)
@target_options
@json_lines_of("queue")
def pause(names: Sequence[str], target: str | None, url: str | None, as_json: bool) -> int:
    """Stop starting jobs from these queues; running jobs continue."""
    return _steer("pause", names, target, url, as_json)


@queues.command()
@click.argument("names", metavar="NAME…", nargs=-1, required=True)
@target_options
@json_lines_of("queue")
def resume(names: Sequence[str], target: str | None, url: str | None, as_json: bool) -> int:
    """End a pause or a drain."""
    return _steer("resume", names, target, url, as_json)


@queues.command()
@click.argument("names", metavar="NAME…", nargs=-1, required=True)
@target_options
@json_lines_of("queue")
def drain(names: Sequence[str], target: str | None, url: str | None, as_json: bool) -> int:
    """Accept no new jobs; waiting jobs still run."""
    return _steer("drain", names, target, url, as_json)


@queues.command(name="set")
@click.argument("name")
@click.argument("settings", metavar="SETTING=VALUE…", nargs=-1, required=True)
@target_options
@json_option
def change(name: str, settings: Sequence[str], target: str | None, url: str | None, as_json: bool) -> int:
    """Change settings at once; the value `none` returns to the setting in code or file.

    \b
      posthorse queues set mail weight=3 max_depth=10000
      posthorse queues set reports window="22:00-06:00 Europe/Berlin"
      posthorse queues set video labels=instance_type=c5.xlarge,zone=a
    """
    said = [_parted(setting) for setting in settings]
    for word, count in Counter(word for word, _ in said).items():
        if count > 1:
            raise click.UsageError(f"{word!r} is set twice; give it one value")
    layer = checked_layer(dict(said), queue=name)
    app = _opened(target, url, [name], may_be_new=True)
    app.queue(name).set(**cast("Any", layer))  # each is checked by its name
    return _tell(app, [name], as_json)


@queues.command()
@click.argument("name")
@click.argument("settings", metavar="[SETTING…]", nargs=-1)
@target_options
@json_option
def reset(name: str, settings: Sequence[str], target: str | None, url: str | None, as_json: bool) -> int:
    """Remove settings that were set live: all of them, or the named ones."""
    checked_words(settings, queue=name)
    app = _opened(target, url, [name])
    if not is_empty(app):
        app.queue(name).reset(*settings)
    return _tell(app, [name], as_json)


_ASIDE = (State.SCHEDULED, State.BLOCKED, State.PAUSED, State.FAILED)
_RANKS = {State.SCHEDULED: 6, State.BLOCKED: 2, State.PAUSED: 5, State.FAILED: 1}
"""Which of their columns goes first where the terminal is narrow: the highest."""


class Listed(NamedTuple):
    """Queues as they are shown, and the settings of those that have any."""

    views: Sequence[QueueView]
    settings: Mapping[str, QueueSettings]
    now: int

    def differing(self, queue: str) -> str:
        """Write out the settings that differ from the defaults."""
        settings = settings_in_words(self.settings.get(queue, DEFAULTS))
        return " ".join(f"{name}={text}" for name, text in settings.items() if name not in OF_STATE)


def _listed(app: Posthorse) -> Listed:
    if is_empty(app):
        return Listed([], {}, 0)
    found = app.store.look(read_queues(MAX_LIMITS))
    settings = app.registry.queues.settings(found.live)
    return Listed(queue_views(found, settings), settings, found.now)


def _print_table(listed: Listed) -> None:
    from rich.text import Text

    aside = [state for state in _ASIDE if any(_aside(view, state) for view in listed.views)]
    rows: list[Sequence[Text | str]] = [
        (
            view.queue,
            Text(view.state, style=STYLES[view.state]),
            f"{view.waiting:,}",
            "" if view.oldest is None else short_span(timedelta(seconds=view.oldest)),
            f"{view.running:,}",
            *(f"{_aside(view, state):,}" for state in aside),
            str(view.runners),
            listed.differing(view.queue),
        )
        for view in listed.views
    ]
    columns = [
        Column("QUEUE", least=10),
        Column("STATE"),
        Column("WAITING", is_number=True),
        Column("OLDEST", rank=4, is_number=True),
        Column("RUNNING", rank=1, is_number=True),
        *(Column(state.value.upper(), rank=_RANKS[state], is_number=True) for state in aside),
        Column("WORKERS", rank=3, is_number=True),
        Column("SETTINGS", least=16, rank=7),
    ]
    if not any(listed.differing(view.queue) for view in listed.views):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    out_table(columns, rows)


def _aside(view: QueueView, state: State) -> int:
    count: int = getattr(view, state.value)
    return count


def _print_limits(limits: Sequence[LimitRow]) -> None:
    if not limits:
        return
    out("")
    out_table(
        (Column("LIMIT", least=12), Column("NOW"), Column("HOLDS BACK", rank=1, is_number=True)),
        [(one.limit, _how_full(one), f"{one.held:,}" if one.held else "") for one in limits],
    )


def _how_full(limit: LimitRow) -> Text:
    from rich.text import Text

    style = "yellow" if limit.is_full else "green"
    if limit.most is not None:
        return Text(f"{limit.inside:,} of {limit.most:,} run", style=style)
    if limit.opens_in is not None:
        wait = "under 1s" if limit.opens_in < 1 else short_span(timedelta(seconds=limit.opens_in))
        return Text(f"next one in {wait}", style=style)
    return Text(f"{limit.tokens:,} of {limit.burst:,} may start", style=style)


def _steer(verb: str, names: Sequence[str], target: str | None, url: str | None, as_json: bool) -> int:
    app = _opened(target, url, names)
    for name in names:
        getattr(app.queue(name), verb)()
    return _tell(app, names, as_json)


def _opened(target: str | None, url: str | None, names: Sequence[str], *, may_be_new: bool = False) -> Posthorse:
    """Return the store if it knows queues of these names; `may_be_new` allows a queue that was never used."""
    for name in names:
        checked_name(name, what="queue")
    app = open_store(target, url)
    known = [view.queue for view in _listed(app).views]
    for name in names:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1)
        if near and not may_be_new:
            raise click.UsageError(f"there is no queue {name!r}; did you mean {near[0]!r}?")
        hint = f" Did you mean {near[0]!r}?" if near else ""
        say(f"No job was ever in a queue {clean(name)!r}; its settings will apply once there is one.{hint}")
    return app


def _tell(app: Posthorse, names: Sequence[str], as_json: bool) -> int:
    listed = _listed(app)
    found = {view.queue: view for view in listed.views}
    for name in names:
        view = found.get(name) or QueueView.of(unused(name), now=listed.now)
        if as_json:
            out_json(view)
        else:
            out(f"{clean(name)}  {view.state}  {clean(listed.differing(name))}".rstrip())
    return Exit.OK


def _parted(setting: str) -> tuple[str, object]:
    """Split a typed setting: its value is JSON if it is valid JSON, and text otherwise."""
    name, separator, text = setting.partition("=")
    if not separator or not text.strip():
        raise click.UsageError(
            f"{setting!r} has no value; write SETTING=VALUE, such as weight=3, or {name}=none to take it back",
            click.get_current_context(),
        )
    if text.strip().lower() in ("none", "null"):
        return name, None
    try:
        return name, msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return name, text
