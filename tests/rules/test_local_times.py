"""Local times as arguments: times in hours that a clock skips or repeats arrive as the same moments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, timezone
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import pytest
from pydantic import BaseModel

from posthorse.errors import InvalidArgument
from posthorse.rules.arguments.signature import Signature
from posthorse.rules.values.kept import decode_kept, encode_kept
from posthorse.rules.values.results import encode_result

BERLIN = ZoneInfo("Europe/Berlin")
DOUBTFUL = [
    pytest.param(datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN), id="first"),
    pytest.param(datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN), id="second"),
    pytest.param(datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN), id="skipped"),
    pytest.param(datetime(2026, 10, 25, 3, 30, tzinfo=BERLIN), id="plain"),
]


@dataclass
class Reading:
    at: datetime
    others: list[datetime]


class Struct(msgspec.Struct):
    at: datetime
    others: dict[str, datetime]


class Named(NamedTuple):
    at: datetime
    others: tuple[datetime, ...] = ()


class Model(BaseModel):
    at: datetime
    others: list[datetime] = []


@dataclass
class Rounding:
    """A zone whose times come back changed."""

    at: datetime

    def __post_init__(self) -> None:
        self.at = self.at.replace(second=0)


def sent(value: object) -> object:
    def job(value: object) -> None: ...

    job.__annotations__["value"] = type(value)
    signature = Signature(job, kind="job", context_type=type("Context", (), {}))
    return signature.decode(signature.encode((value,), {}))[0][0]


@pytest.mark.parametrize("moment", DOUBTFUL)
def test_a_doubtful_hour_arrives_as_the_moment_that_it_is(moment: datetime) -> None:
    in_utc = moment.astimezone(UTC)
    assert sent(moment).astimezone(UTC) == in_utc  # type: ignore[attr-defined]
    for value in (
        Reading(moment, [moment]),
        Struct(moment, {"a": moment}),
        Named(moment, (moment,)),
        Model(at=moment, others=[moment]),
    ):
        arrived = sent(value)
        assert arrived.at.astimezone(UTC) == in_utc  # type: ignore[attr-defined]
        assert type(arrived) is type(value)


@pytest.mark.parametrize("moment", DOUBTFUL)
def test_what_comes_back_as_another_time_is_refused_all_the_same(moment: datetime) -> None:
    value = Rounding(moment)
    value.at = moment.replace(second=7)
    with pytest.raises(InvalidArgument, match="would come back from JSON as another"):
        sent(value)


class Times(BaseModel):
    at: time
    others: list[time] = []


@dataclass
class Opening:
    at: time


@pytest.mark.parametrize("zoned", [time(12, tzinfo=BERLIN), time(12, fold=1, tzinfo=BERLIN)])
def test_a_time_whose_zone_would_be_lost_is_refused(zoned: time) -> None:
    for value in (zoned, Opening(zoned), Times(at=zoned), Times(at=time(1), others=[zoned])):
        with pytest.raises(
            InvalidArgument, match="has a zone whose offset from UTC depends on the date; pass a datetime"
        ):
            sent(value)
    for keep in (encode_kept, lambda value: encode_result(value, limit=1000)):
        with pytest.raises(ValueError, match="has a zone whose offset from UTC depends on the date"):
            keep({"at": zoned})


@pytest.mark.parametrize("fine", [time(12), time(12, tzinfo=UTC), time(12, tzinfo=timezone(timedelta(hours=2)))])
def test_other_times_keep_their_offset(fine: time) -> None:
    for value in (fine, Opening(fine), Times(at=fine)):
        assert sent(value) == value
    assert sent(fine).utcoffset() == fine.utcoffset()  # type: ignore[attr-defined]
    assert decode_kept(encode_kept(fine)) == fine
