"""Bundles: kinds that are declared without an application, and become kinds of the applications that include them."""

from __future__ import annotations

import inspect
import pickle
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import posthorse as ph


@pytest.fixture
def bundle() -> ph.Bundle:
    return ph.Bundle()


@pytest.fixture
def app(sqlite_url: str) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(sqlite_url)
    yield app
    app.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[ph.Posthorse]:
    app = ph.Posthorse(f"sqlite:///{tmp_path}/other.db")
    yield app
    app.close()


def test_a_function_of_a_bundle_runs_in_the_application_that_includes_it(store_url: str, bundle: ph.Bundle) -> None:
    app = ph.Posthorse(store_url)

    @bundle.job
    def double(number: int) -> int:
        return 2 * number

    app.include(bundle)
    assert double(4) == 8
    with app.worker():
        assert double.enqueue(21).result(timeout="30s") == 42
        assert app.get_job(double.enqueue(1).id).result(timeout="30s") == 2
    app.close()


def test_before_it_is_included_only_a_plain_call_works(bundle: ph.Bundle) -> None:
    @bundle.job(queue="mail")
    def letter(number: int) -> int:
        """Write one."""
        return number

    assert letter(1) == 1
    assert (letter.__name__, letter.__doc__) == ("letter", "Write one.")
    assert repr(letter) == "<Kind 'letter' of a bundle>"
    assert list(inspect.signature(letter).parameters) == ["number"]
    for use in (
        lambda: letter.enqueue(1),
        lambda: letter.bind(1),
        lambda: letter.using(delay="1m"),
        lambda: letter.get_job("01936f5e-7c1a-7d2b-8e3f-0123456789ab"),
        lambda: letter.kind,
    ):
        with pytest.raises(ph.InvalidCall, match=r"letter\(\) belongs to a bundle that no application includes"):
            use()


async def _enqueue(kind: ph.Kind[[int], int]) -> ph.Job[int]:
    return await kind.aenqueue(1)


def test_using_options_and_coroutines_enqueue_like_kinds(app: ph.Posthorse, bundle: ph.Bundle) -> None:
    import asyncio

    @bundle.job
    async def letter(number: int) -> int:
        return number

    app.include(bundle)
    assert letter.using(queue="slow", priority=3).enqueue(1).status().queue == "slow"
    assert asyncio.run(_enqueue(letter)).status().kind == "letter"
    assert [job.created for job in app.enqueue_many([letter.bind(1), letter.bind(2)])] == [True, True]
    assert letter.get_job(letter.enqueue(1).id).status().kind == letter.kind == "letter"


def test_wrong_options_and_functions_are_refused_where_they_are_declared(bundle: ph.Bundle) -> None:
    with pytest.raises(ph.InvalidOption, match=r"@app.job has no option 'queeu'"):
        bundle.job(queeu="mail")  # type: ignore[call-overload]  # refused
    with pytest.raises(ph.InvalidOption, match="needs a function"):
        bundle.job(3)  # type: ignore[call-overload]  # refused


def test_queue_of_an_inclusion_is_for_kinds_that_name_none(app: ph.Posthorse, bundle: ph.Bundle) -> None:
    @bundle.job
    def free() -> None: ...

    @bundle.job(queue="default")
    def bound() -> None: ...

    app.include(bundle, queue="mail")
    assert free.enqueue().status().queue == "mail"
    assert bound.enqueue().status().queue == "default"


def test_prefix_comes_before_kinds_and_aliases(app: ph.Posthorse, bundle: ph.Bundle) -> None:
    @bundle.job(aliases=["note"])
    def letter() -> None: ...

    @bundle.job(kind="parcel", unique=True)
    def send() -> None: ...

    app.include(bundle, prefix="mailing.")
    assert sorted(app.registry) == ["mailing.letter", "mailing.note", "mailing.parcel"]
    assert letter.enqueue().status().kind == letter.kind == "mailing.letter"
    assert send.enqueue().id == send.enqueue().id
    with pytest.raises(ph.InvalidArgument, match=r"mailing\.letter\(\)"):
        letter.enqueue(1)  # type: ignore[call-arg]  # refused


def test_two_applications_may_include_it_and_the_caller_chooses(
    app: ph.Posthorse, other: ph.Posthorse, bundle: ph.Bundle
) -> None:
    @bundle.job
    def letter(number: int) -> int:
        return number

    app.include(bundle)
    other.include(bundle, prefix="b.")
    with pytest.raises(ph.InvalidCall, match=r"2 applications include; choose one: app.kind\(letter\)"):
        letter.enqueue(1)
    assert app.kind(letter).enqueue(1).status().kind == "letter"
    job = other.kind(letter).enqueue(2)
    assert job.status().kind == "b.letter"
    assert app.jobs("kind:letter").count() == 1
    with other.worker():
        assert job.result(timeout="30s") == 2


def test_kind_of_a_function_that_the_application_does_not_have_is_refused(
    app: ph.Posthorse, other: ph.Posthorse, bundle: ph.Bundle
) -> None:
    @bundle.job
    def letter() -> None: ...

    @app.job
    def own() -> None: ...

    with pytest.raises(ph.InvalidOption, match="a bundle that this application does not include"):
        app.kind(letter)
    assert app.kind(own) is own
    with pytest.raises(ph.InvalidOption, match="'own' belongs to another application"):
        other.kind(own)


def test_inclusion_enters_all_kinds_or_none(app: ph.Posthorse, bundle: ph.Bundle) -> None:
    @app.job(kind="taken")
    def own() -> None: ...

    @bundle.job
    def letter() -> None: ...

    @bundle.job
    def taken() -> None: ...

    with pytest.raises(ph.DuplicateKind, match="'taken' is taken by"):
        app.include(bundle)
    assert list(app.registry) == ["taken"]
    with pytest.raises(ph.InvalidCall, match="no application includes"):
        letter.enqueue()
    app.include(bundle, prefix="b.")
    assert letter.kind == "b.letter"


def test_two_functions_of_a_bundle_cannot_share_a_kind(app: ph.Posthorse, bundle: ph.Bundle) -> None:
    bundle.job(kind="letter")(lambda: None)
    bundle.job(kind="letter")(lambda: None)
    with pytest.raises(ph.DuplicateKind, match="'letter' is taken"):
        app.include(bundle)


def test_kinds_that_are_declared_later_are_included_too(app: ph.Posthorse, bundle: ph.Bundle) -> None:
    app.include(bundle, queue="mail")

    @bundle.job
    def letter() -> None: ...

    assert letter.enqueue().status().queue == "mail"


def test_an_excluded_bundle_leaves_no_kind_behind(app: ph.Posthorse, other: ph.Posthorse, bundle: ph.Bundle) -> None:
    @bundle.job(aliases=["note"])
    def letter() -> None: ...

    app.include(bundle)
    other.include(bundle)
    app.exclude(bundle)
    assert list(app.registry) == []
    assert other.jobs("kind:letter").count() == 0
    letter.enqueue()
    assert other.jobs("kind:letter").count() == 1
    with pytest.raises(ph.InvalidOption, match="does not include the bundle"):
        app.exclude(bundle)
    app.include(bundle)  # once more


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queue": "a*"}, "queue is 'a\\*'"),
        ({"prefix": " "}, "prefix is ' '"),
        ({"prefix": "x" * 196}, "kind is"),
    ],
)
def test_wrong_options_of_an_inclusion_are_refused(
    app: ph.Posthorse, bundle: ph.Bundle, options: dict[str, str], message: str
) -> None:
    bundle.job(kind="letter")(lambda: None)
    with pytest.raises(ph.InvalidOption, match=message):
        app.include(bundle, queue=options.get("queue"), prefix=options.get("prefix", ""))
    assert list(app.registry) == []


def test_a_bundle_is_included_once_in_an_application(app: ph.Posthorse, bundle: ph.Bundle) -> None:
    app.include(bundle)
    with pytest.raises(ph.InvalidOption, match="includes the bundle already"):
        app.include(bundle, prefix="b.")
    with pytest.raises(ph.InvalidOption, match=r"takes a ph\.Bundle, not \[\]"):
        app.include([])  # type: ignore[arg-type]  # refused


def test_schedules_and_limits_take_kinds_of_a_bundle(app: ph.Posthorse, bundle: ph.Bundle) -> None:
    @bundle.job(rate="5/s", sequence=ph.Sequence(per="user"))
    def letter(user: int) -> None: ...

    app.include(bundle, prefix="b.")
    app.schedule(letter.bind(1), name="nightly", cron="0 3 * * *")
    assert app.registry.schedules["nightly"].call.lane.kind == "b.letter"
    with app.worker():
        letter.enqueue(1).result(timeout="30s")


MODULE = """
import os

import posthorse as ph

bundle = ph.Bundle()


@bundle.job(isolation="process")
def pid() -> int:
    return os.getpid()
"""
APPLICATION = """
import posthorse as ph
import letters_of_a_package

app = ph.Posthorse({url!r})
app.include(letters_of_a_package.bundle, prefix="p.")
"""


@pytest.fixture
def package(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put a bundle and an application into modules of their own."""
    (tmp_path / "letters_of_a_package.py").write_text(textwrap.dedent(MODULE), encoding="utf-8")
    (tmp_path / "shop_of_a_package.py").write_text(APPLICATION.format(url=sqlite_url), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield
    for name in ("letters_of_a_package", "shop_of_a_package"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("package")
def test_a_child_process_finds_the_application_that_includes_the_bundle() -> None:
    import os

    import shop_of_a_package  # type: ignore[import-not-found]  # written above

    app: ph.Posthorse = shop_of_a_package.app
    letters = sys.modules["letters_of_a_package"]
    with app.worker():
        assert letters.pid.enqueue().result(timeout="30s") != os.getpid()
    app.close()


@pytest.mark.usefixtures("package")
def test_functions_of_a_bundle_and_their_kinds_are_pickled_by_name() -> None:
    import shop_of_a_package

    letters = sys.modules["letters_of_a_package"]
    assert pickle.loads(pickle.dumps(letters.pid)) is letters.pid
    kind = shop_of_a_package.app.kind(letters.pid)
    assert pickle.loads(pickle.dumps(kind)).kind == "p.pid"
    assert pickle.loads(pickle.dumps(kind.using(priority=3))).kind == "p.pid"


def test_a_function_that_no_module_holds_cannot_be_pickled(bundle: ph.Bundle) -> None:
    @bundle.job
    def letter() -> None: ...

    with pytest.raises(pickle.PicklingError, match="no module holds it"):
        pickle.dumps(letter)
