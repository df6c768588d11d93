"""The kit works with Django's TestCase, FastAPI's client and tests that are coroutines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.testing.projects import SHOP, passes, write

DJANGO = """
import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=["orders"],
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()
"""
MODELS = """
from django.db import models

class Order(models.Model):
    is_shipped = models.BooleanField(default=False)

    class Meta:
        app_label = "orders"
"""
JOBS = """
import posthorse as ph
from django.db import connection, transaction
from orders.models import Order

app = ph.Posthorse("sqlite:////nowhere/shop.db")


@app.job
def ship(order_id: int) -> None:
    order = Order.objects.get(id=order_id)
    order.is_shipped = True
    order.save()


def buy(fails: bool = False) -> Order:
    with transaction.atomic():
        order = Order.objects.create()
        ship.using(connection=connection).enqueue(order.id)
        if fails:
            raise ZeroDivisionError
    return order
"""
DJANGO_TESTS = """
import threading
import configured
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase
from django.test.utils import setup_databases, setup_test_environment

import posthorse as ph
from posthorse import testing as pt
import jobs
from jobs import app, buy, ship
from orders.models import Order

setup_test_environment()


def setUpModule():
    setup_databases(0, False)


class Kits:
    def setUp(self):
        self.kit = self.enterContext(pt.kit(app))


class InTestCase(Kits, TestCase):
    def test_a_job_sees_the_rows_of_the_test(self):
        order = buy()
        self.kit.assert_enqueued(ship, order.id)
        self.assertEqual(self.kit.drain().completed, 1)
        order.refresh_from_db()
        self.assertTrue(order.is_shipped)

    def test_a_block_that_is_rolled_back_leaves_no_job(self):
        with self.assertRaises(ZeroDivisionError):
            buy(fails=True)
        self.kit.assert_not_enqueued()

    def test_inside_of_an_open_block_the_job_is_not_there_yet(self):
        with transaction.atomic():
            buy()
            self.kit.assert_not_enqueued()
            self.assertEqual(self.kit.drain().completed, 0)
        self.assertEqual(self.kit.drain().completed, 1)

    def test_callbacks_of_django_store_it_once(self):
        with self.captureOnCommitCallbacks(execute=True):
            buy()
        self.kit.assert_enqueued(ship, times=1)

    def test_inline_it_runs_after_the_block(self):
        with self.kit.inline():
            with self.captureOnCommitCallbacks(execute=True):
                order = buy()
        order.refresh_from_db()
        self.assertTrue(order.is_shipped)


class WithTransactions(Kits, TransactionTestCase):
    available_apps = []

    def test_a_commit_stores_the_job(self):
        order = buy()
        self.kit.assert_enqueued(ship, order.id)
        self.assertEqual(self.kit.drain().completed, 1)

    def test_outside_of_a_transaction_it_is_refused_as_in_production(self):
        with self.assertRaisesRegex(ph.InvalidOption, "atomic"):
            ship.using(connection=connection).enqueue(1)
"""


def test_jobs_of_django_are_stored_with_its_transactions(tmp_path: Path) -> None:
    (tmp_path / "orders").mkdir()
    write(tmp_path / "orders", __init__="", models=MODELS)
    write(tmp_path, configured=DJANGO, jobs=JOBS, test_orders=DJANGO_TESTS)
    assert "7 passed" in passes(tmp_path)


FASTAPI = """
from fastapi import FastAPI

from shop import app, welcome

web = FastAPI()


@web.post("/plain/{user_id}")
def plain(user_id: int) -> str:
    return welcome.enqueue(user_id).id


@web.post("/async/{user_id}")
async def coroutine(user_id: int) -> str:
    return (await welcome.aenqueue(user_id)).id
"""
FASTAPI_TESTS = """
import pytest
from fastapi.testclient import TestClient

from posthorse import testing as pt
from shop import app, welcome
from web import web

@pytest.fixture
def client(posthorse):
    with TestClient(web) as client:
        yield client

@pytest.fixture
def posthorse_app():
    return app

@pytest.mark.parametrize("colour", ["plain", "async"])
def test_a_request_enqueues(client, posthorse, colour):
    job = app.get_job(client.post(f"/{colour}/7").json())
    posthorse.assert_enqueued(welcome, user_id=7)
    assert posthorse.drain().completed == 1
    assert job.result() == 7

@pytest.mark.parametrize("colour", ["plain", "async"])
def test_a_request_runs_its_job_inline(client, posthorse, colour):
    with posthorse.inline():
        assert app.get_job(client.post(f"/{colour}/7").json()).result() == 7
"""


def test_requests_to_fastapi_enqueue_to_the_store_of_the_test(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    write(tmp_path, shop=SHOP, web=FASTAPI, test_web=FASTAPI_TESTS)
    assert "4 passed" in passes(tmp_path, plugins=("anyio",))


COROUTINES = """
import pytest

from shop import app, welcome

@pytest.fixture
def posthorse_app():
    return app

{mark}
async def test_a_coroutine(posthorse):
    job = await welcome.aenqueue(7)
    posthorse.assert_enqueued(welcome, user_id=7)
    assert (await posthorse.adrain()).completed == 1
    assert await job.aresult() == 7
    posthorse.clock.advance("3d")

{mark}
async def test_another(posthorse):
    posthorse.assert_not_enqueued()
    with posthorse.inline():
        assert await (await welcome.aenqueue(7)).aresult() == 7
"""


@pytest.mark.parametrize(
    ("library", "plugin", "mark", "options"),
    [
        ("anyio", "anyio", "@pytest.mark.anyio", ()),
        (
            "pytest_asyncio",
            "pytest_asyncio.plugin",
            "@pytest.mark.asyncio",
            ("-o", "asyncio_default_fixture_loop_scope=function"),
        ),
    ],
    ids=["anyio", "pytest-asyncio"],
)
def test_tests_may_be_coroutines(
    tmp_path: Path, library: str, plugin: str, mark: str, options: tuple[str, ...]
) -> None:
    pytest.importorskip(library)
    backend = "\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n"
    write(tmp_path, shop=SHOP, test_shop=COROUTINES.format(mark=mark) + backend)
    assert "2 passed" in passes(tmp_path, "-W", "error", *options, plugins=(plugin,))
