"""Commands on a store with packed texts: with the application that has the codec, and without."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import SHOP, Shop
from tests.waiting import until_state

CODEC = """
class Reversing:
    mark = "r"

    def pack(self, text, about):
        return text[::-1]

    def unpack(self, packed, about):
        return packed[::-1]


app = ph.Posthorse(codecs=[Reversing()])
"""


@pytest.fixture
def packing_shop(any_shop: Shop) -> Shop:
    source = SHOP.replace("app = ph.Posthorse()\n", CODEC)
    assert CODEC in source
    (any_shop.folder / "shop.py").write_text(source, encoding="utf-8")
    return any_shop


def test_show_opens_what_its_application_can_open(packing_shop: Shop) -> None:
    shop = packing_shop
    done, failed = shop.done("enqueue", "welcome", "7", "Ada"), shop.done("enqueue", "broken", "for a reason")
    with shop.working():
        until_state(shop.app.get_job(done), "completed")
        until_state(shop.app.get_job(failed), "failed")
    shown = shop.json("show", done)
    assert isinstance(shown, dict)
    assert (shown["arguments"], shown["result"]) == ({"user_id": 7, "name": "Ada"}, "welcome 7 Ada")
    told = shop.json("show", failed)
    assert isinstance(told, dict)
    assert told["error"]["message"] == told["attempts"][0]["error"]["message"] == "for a reason"
    details = [event["detail"] for event in told["events"] if event["name"] in ("attempt_failed", "failed")]
    assert [detail["message"] for detail in details] == ["for a reason"] * 2
    assert not any("packed" in detail for detail in details)
    assert "for a reason" in shop.done("show", failed)
    shop.done("retry", failed)
    assert shop.listed("--filter", "state:failed") == []


def test_show_without_the_codec_shows_the_rest(packing_shop: Shop) -> None:
    shop = packing_shop
    job = shop.done("enqueue", "broken", "for a reason")
    with shop.working():
        until_state(shop.app.get_job(job), "failed")
    shop.app.close()
    shown = json.loads(shop.done("show", job, "--url", shop.url, "--json"))
    assert shown["state"] == "failed"
    assert "was packed by a codec 'r'" in shown["arguments"]
    assert shown["error"]["type"] == "ValueError"
    assert "was packed by a codec 'r'" in shown["error"]["message"]
    assert "for a reason" not in json.dumps(shown)
