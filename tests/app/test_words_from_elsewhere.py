"""Words of other job systems, and misspelt words, are corrected wherever an option or a method is named."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any, cast

import pytest

import posthorse as ph
from posthorse.rules import other_systems
from posthorse.rules.options.option import OptionPlace
from posthorse.rules.options.table import options_at
from posthorse.rules.other_systems import OPTIONS
from posthorse.rules.queues import NAMES


@pytest.fixture
def lone(sqlite_url: str) -> ph.Posthorse:
    """Return an application whose store is never opened."""
    return ph.Posthorse(sqlite_url)


@pytest.fixture
def kind(lone: ph.Posthorse) -> Any:  # noqa: ANN401 - asked for what it does not have
    @lone.job
    def welcome(user_id: int) -> None: ...

    return welcome


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("max_retries", r"max_attempts=, which counts the first try, too: 3 retries are max_attempts=4"),
        ("retry_delay", "backoff="),
        ("autoretry_for", "retry_on="),
        ("queue_name", "queue="),
        ("countdown", "delay="),
        ("eta", "run_at="),
        ("rate_limit", "rate="),
        ("soft_time_limit", "timeout="),
        ("queueing_lock", "unique="),
    ],
)
def test_options_are_answered_with_ours(lone: ph.Posthorse, kind: Any, name: str, ours: str) -> None:  # noqa: ANN401
    with pytest.raises(ph.InvalidOption, match=f"@app.job has no option '{name}'; here that is {ours}"):
        cast("Any", lone).job(**{name: 3})
    with pytest.raises(ph.InvalidOption, match=rf"using\(\) has no option '{name}'; here that is {ours}"):
        kind.using(**{name: 3})


def test_no_word_of_ours_is_taken_for_one_of_others(kind: Any) -> None:  # noqa: ANN401
    kind.using(delay=1, expires=2, key="a", unique=True, tenant="t", block=1)
    assert not {"queue", "key", "expires", "timeout", "backoff", "tags", "rate", "concurrency", "unique"} & set(OPTIONS)


def test_what_is_said_where_a_kind_is_declared_is_told_so(kind: Any) -> None:  # noqa: ANN401
    with pytest.raises(ph.InvalidOption, match=r"cannot change retry_on; .* declared: @app.job\(retry_on=…\)"):
        kind.using(retry_on=ValueError)
    with pytest.raises(ph.InvalidOption, match=r"using\(\) has no option 'zzz'; known are queue, priority"):
        kind.using(zzz=1)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("delay", r"here that is enqueue\(…\)"),
        ("apply_async", r"here that is using\(…\).enqueue\(…\)"),
        ("send", "here that is enqueue"),
        ("defer", "here that is enqueue"),
        ("s", "here that is bind"),
        ("enqeue", "did you mean 'enqueue'"),
    ],
)
def test_methods_are_answered_with_ours(kind: Any, name: str, told: str) -> None:  # noqa: ANN401
    for one in (kind, kind.using(priority=1)):
        with pytest.raises(AttributeError, match=f"<Kind 'welcome'> has no attribute '{name}'; {told}"):
            getattr(one, name)
    assert getattr(kind, "zzz", None) is None


def test_so_are_methods_of_an_application(lone: ph.Posthorse) -> None:
    for name, told in (("task", "here that is job: @app.job"), ("migrat", "did you mean 'migrate'")):
        with pytest.raises(AttributeError, match=f"an application has no attribute '{name}'; {told}"):
            getattr(lone, name)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("crontab", "here that is cron="),
        ("timezone", "here that is tz="),
        ("max_instances", "here that is overlap="),
        ("args", "here that is arguments of the call"),
        ("evry", "did you mean 'every'"),
        ("zzz", "known are name, cron, every"),
    ],
)
def test_options_of_a_schedule_are_answered_with_ours(lone: ph.Posthorse, kind: Any, name: str, told: str) -> None:  # noqa: ANN401
    schedule = cast("Any", lone).schedule
    with pytest.raises(ph.InvalidOption, match=rf"app.schedule\(\) has no option '{name}'; {told}"):
        schedule(kind.bind(1), name="daily", **{name: 3})
    with pytest.raises(ph.InvalidOption, match=r"queue is set on the call: app.schedule\(kind.using\(queue=…\)"):
        schedule(kind.bind(1), name="daily", queue="mail")
    with pytest.raises(ph.InvalidOption, match=r"isolation is set where the kind .* declared: @app.job\(isolation=…\)"):
        schedule(kind.bind(1), name="daily", isolation="process")
    assert not lone.registry.schedules


def test_a_schedule_without_a_name_is_told_how_to_give_one(lone: ph.Posthorse, kind: Any) -> None:  # noqa: ANN401
    schedule = cast("Any", lone).schedule
    with pytest.raises(ph.InvalidOption, match=r"app.schedule\(\) has no option 'id'; here that is name="):
        schedule(kind.bind(1), id="daily", cron="0 3 * * *")
    with pytest.raises(
        ph.InvalidOption, match=r'a schedule needs a name, .* app.schedule\(report.bind\(\), name="report"'
    ):
        schedule(kind.bind(1), cron="0 3 * * *")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("threshold", "here that is by="),
        ("max_retries", "here that is max_attempts="),
        ("witin", "did you mean 'within'"),
        ("zzz", "known are kind, queue, batch, by, after, within, resolved, name, aliases"),
    ],
)
def test_options_of_an_observer_are_answered_with_ours(lone: ph.Posthorse, name: str, told: str) -> None:
    with pytest.raises(ph.InvalidOption, match=rf"app.on\(\) has no option '{name}'; {told}"):
        cast("Any", lone).on(ph.events.DeadLettersGrew, **{name: 3})


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("max_concurrency", "here that is concurrency="),
        ("rate_limit", "here that is rate="),
        ("lifo", 'here that is order="lifo"'),
        ("maxsize", "here that is max_depth="),
        ("max_attempts", r"it is set on a kind: @app.job\(max_attempts=…\)"),
        ("wieght", "did you mean 'weight'"),
        ("zzz", "known are max_depth, order"),
    ],
)
def test_settings_of_a_queue_are_answered_with_ours(lone: ph.Posthorse, name: str, told: str) -> None:
    says: list[Any] = [partial(lone.queue, "mail"), lone.queue("mail").set]
    for say in says:
        with pytest.raises(ph.InvalidOption, match=f"queue 'mail' has no setting '{name}'; {told}"):
            say(**{name: 3})


def test_no_word_of_ours_is_taken_for_one_of_others_there(lone: ph.Posthorse) -> None:
    assert not set(other_systems.OF_QUEUES) & set(NAMES)
    assert not set(other_systems.OF_SCHEDULES) & {*options_at(OptionPlace.SCHEDULE), *options_at(OptionPlace.SCHEDULED)}
    taken = inspect.signature(lone.schedule).parameters.values()
    assert {each.name for each in taken if each.kind is each.KEYWORD_ONLY} == set(options_at(OptionPlace.SCHEDULE))
