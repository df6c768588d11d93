"""Pictures: whatever the numbers, they are well-formed and stay inside their frame; ticks are round and few."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorse.views.pictures.bars import Bar, bars
from posthorse.views.pictures.frame import Mark
from posthorse.views.pictures.heat_maps import heat_map, shade
from posthorse.views.pictures.lines import Point, line
from posthorse.views.pictures.scales import MAX_TICKS, MAX_TIMES, TimeAxis, counts, durations
from posthorse.views.pictures.sparklines import NONE, spark_text, sparkline, thin

SVG = "{http://www.w3.org/2000/svg}"
EVIL = "\x1b[2J<b>&\"'\x00\ufffe\ud800]]>"
SINCE = datetime(2026, 11, 24, 13, 37, tzinfo=UTC)
UNTIL = SINCE + timedelta(days=7)

moments = st.integers(0, 70_000 * 86_400).map(lambda each: datetime.fromtimestamp(each, UTC))
numbers = st.integers(0, 2**63) | st.integers(0, 20)
seconds = st.floats(0, 1e12, allow_nan=False) | st.floats(0, 10)
texts = st.text(max_size=30) | st.just(EVIL)
spans = st.tuples(moments, moments).map(lambda pair: TimeAxis(min(pair), max(pair)))


def read(svg: str) -> ElementTree.Element:
    """Parse a picture, and check what all pictures have."""
    root = ElementTree.fromstring(svg.encode("utf-8", "surrogatepass"))
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    ids = {found.get("id") for found in root.iter() if found.get("id")}
    assert ids == set((root.get("aria-labelledby") or "").split())
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert description is not None
    width, height = (float(word) for word in (root.get("viewBox") or "").split()[2:])
    for x, y in places(root):
        assert -0.01 <= x <= width + 0.01, x
        assert -0.01 <= y <= height + 0.01, y
    return root


def places(root: ElementTree.Element) -> Iterator[tuple[float, float]]:
    """Return all points of a picture."""
    for found in root.iter():
        given_ = found.attrib
        match found.tag.removeprefix(SVG):
            case "rect":
                x, y, width, height = (float(given_[name]) for name in ("x", "y", "width", "height"))
                assert width >= 0
                assert height >= 0
                yield x, y
                yield x + width - 0.5, y + height  # half a unit is the least width of a bar, also at the very end
            case "line":
                yield float(given_["x1"]), float(given_["y1"])
                yield float(given_["x2"]), float(given_["y2"])
            case "circle":
                yield float(given_["cx"]), float(given_["cy"])
            case "text":
                yield float(given_["x"]), float(given_["y"])
            case "path":
                for x_, y_ in re.findall(r"(-?[\d.]+) (-?[\d.]+)", given_["d"]):
                    yield float(x_), float(y_)


@given(
    spans,
    st.lists(st.tuples(moments, st.tuples(numbers, numbers, numbers)), max_size=20),
    st.lists(st.tuples(moments, texts), max_size=4),
    texts,
)
def test_bars_are_well_formed_and_inside(
    times: TimeAxis,
    stacks: list[tuple[datetime, tuple[int, int, int]]],
    marks: list[tuple[datetime, str]],
    title: str,
) -> None:
    svg = bars(
        "b",
        title,
        title,
        times=times,
        width=timedelta(hours=1),
        sorts=("completed", "cancelled", "failed"),
        stacks=[Bar(at, parts) for at, parts in stacks],
        marks=[Mark(at, name) for at, name in marks],
    )
    parts = [found for found in read(svg).iter(f"{SVG}rect") if found.get("class") != "around"]
    assert len(parts) == sum(1 for _, stack in stacks for count in stack if count)


@given(
    spans,
    st.lists(st.tuples(moments, seconds, seconds, seconds), max_size=20),
    st.lists(st.tuples(moments, texts), max_size=4),
)
def test_lines_are_well_formed_and_inside(
    times: TimeAxis, values: list[tuple[datetime, float, float, float]], marks: list[tuple[datetime, str]]
) -> None:
    points = [Point(at, *sorted(three)) for at, *three in sorted(values)]
    highest = max((point.high for point in points), default=0)
    for scale in (counts(highest), durations(min((point.low for point in points), default=0), highest)):
        svg = line(
            "l",
            "Title",
            "What it says.",
            times=times,
            values=scale,
            points=points,
            said=lambda point: f"{point.value} {EVIL}",
            longest_gap=timedelta(days=1000),
            marks=[Mark(at, name) for at, name in marks],
        )
        assert len(list(read(svg).iter(f"{SVG}circle"))) == len(points)


@given(st.lists(seconds, max_size=60), texts)
def test_sparklines_are_well_formed_and_inside(values: list[float], title: str) -> None:
    read(sparkline("s", title, title, values))


@given(st.dictionaries(st.tuples(st.integers(0, 6), st.integers(0, 23)), seconds))
def test_heat_maps_are_well_formed_and_inside(values: dict[tuple[int, int], float]) -> None:
    cells = [found for found in read(heat_map("h", EVIL, EVIL, values)).iter(f"{SVG}rect") if list(found)]
    assert len(cells) == 7 * 24
    assert sum("heat-unknown" in (cell.get("class") or "") for cell in cells) == 7 * 24 - len(values)


@given(st.integers(0, 2**63) | st.floats(0, 1e300))
def test_an_axis_of_counts_reaches_the_largest_with_few_ticks(largest: float) -> None:
    scale = counts(largest)
    assert scale.low == 0
    assert scale.high >= largest * (1 - 1e-9)
    assert 2 <= len(scale.ticks) <= MAX_TICKS + 1
    assert 0 <= scale.place(largest) <= 1
    assert [tick.place for tick in scale.ticks] == sorted(tick.place for tick in scale.ticks)


@pytest.mark.parametrize(
    ("largest", "texts"),
    [
        (0, ["0", "1"]),
        (1, ["0", "1"]),
        (3, ["0", "1", "2", "3"]),
        (17, ["0", "5", "10", "15", "20"]),
        (17_827, ["0", "5k", "10k", "15k", "20k"]),
        (3_000_000, ["0", "1M", "2M", "3M"]),
    ],
)
def test_ticks_of_counts_are_round(largest: int, texts: list[str]) -> None:
    assert [tick.text for tick in counts(largest).ticks] == texts


@given(seconds, seconds)
def test_an_axis_of_durations_has_few_ticks_inside(one: float, other: float) -> None:
    scale = durations(min(one, other), max(one, other))
    assert 1 <= len(scale.ticks) <= MAX_TICKS + 2
    assert all(0 <= tick.place <= 1 for tick in scale.ticks)
    assert scale.place(one) <= scale.place(other) or one > other


def test_ticks_of_durations_are_those_of_clocks() -> None:
    assert [tick.text for tick in durations(0.02, 40).ticks] == ["10ms", "100ms", "1s", "10s", "1m"]


@given(spans)
def test_an_axis_of_time_has_few_ticks_inside(times: TimeAxis) -> None:
    ticks = times.ticks()
    assert len(ticks) <= MAX_TIMES
    assert all(0 <= tick.place <= 1 for tick in ticks)
    assert [tick.place for tick in ticks] == sorted({tick.place for tick in ticks})


@pytest.mark.parametrize(
    ("span", "texts"),
    [
        (timedelta(minutes=7), ["13:37", "13:38", "13:39", "13:40", "13:41", "13:42", "13:43", "13:44"]),
        (timedelta(hours=3), ["14:00", "14:30", "15:00", "15:30", "16:00", "16:30"]),
        (timedelta(days=1), ["16:00", "20:00", "25 Nov", "04:00", "08:00", "12:00"]),
        (timedelta(days=7), [f"{day} Nov" for day in range(25, 31)] + ["1 Dec"]),
        (timedelta(days=365), ["Jan 2027", "Mar 2027", "May 2027", "Jul 2027", "Sep 2027", "Nov 2027"]),
        (timedelta(days=3650), ["2028", "2030", "2032", "2034", "2036"]),
    ],
)
def test_ticks_of_time_are_round(span: timedelta, texts: list[str]) -> None:
    assert [tick.text for tick in TimeAxis(SINCE, SINCE + span).ticks()] == texts


def test_stacks_grow_from_the_bottom_and_small_parts_are_seen() -> None:
    svg = bars(
        "b",
        "Ends",
        "",
        times=TimeAxis(SINCE, UNTIL),
        width=timedelta(hours=1),
        sorts=("completed", "failed"),
        stacks=[Bar(SINCE + timedelta(days=1), (1_000_000, 1))],
    )
    completed, failed = [
        found for found in read(svg).iter(f"{SVG}rect") if (found.get("class") or "").startswith("part")
    ]
    assert float(failed.get("y") or 0) + float(failed.get("height") or 0) == pytest.approx(
        float(completed.get("y") or 0), abs=0.02
    )
    assert float(failed.get("height") or 0) >= 0.99
    assert "25 Nov 2026 13:37: 1,000,000 completed, 1 failed" in svg


def test_lines_have_a_gap_where_nothing_is_known() -> None:
    points = [Point(SINCE + timedelta(hours=hour), 1, 2, 3) for hour in (0, 1, 2, 50, 51, 100)]
    svg = line(
        "l",
        "Waiting",
        "",
        times=TimeAxis(SINCE, UNTIL),
        values=counts(3),
        points=points,
        said=lambda point: "",
        longest_gap=timedelta(hours=2),
    )
    assert svg.count('class="line"') == 2
    assert svg.count('class="band"') == 2
    assert svg.count('class="reach"') == 1, "a point alone has its band, too"


def test_what_lies_outside_of_an_axis_is_at_its_end() -> None:
    assert [counts(10).place(value) for value in (-5, 0, 5, 10, 99)] == [0, 0, 0.5, 1, 1]
    assert [durations(1, 10).place(value) for value in (0, 1, 10, 99)] == [0, 0, 1, 1]
    times = TimeAxis(SINCE, UNTIL)
    assert [times.place(at) for at in (SINCE - timedelta(days=1), SINCE, UNTIL, UNTIL + timedelta(days=1))] == [
        *(0, 0, 1, 1)
    ]


def test_shades_go_from_nothing_to_the_most() -> None:
    assert [shade(value, 10) for value in (None, 0, 0.1, 5, 9.9, 10)] == [
        *("heat-unknown", "heat-0", "heat-1", "heat-3", "heat-5", "heat-5")
    ]


def test_lines_of_blocks_show_the_peaks() -> None:
    assert spark_text([0, 1, 2, 4, 8], 10) == f"{NONE}▂▃▅█"
    assert spark_text([0] * 9 + [7] + [0] * 90, 4) == f"█{NONE * 3}"
    assert spark_text([0, 0], 10) == NONE * 2
    assert spark_text([], 10) == ""
    assert spark_text([10**18, 1], 10) == "█▁"


@given(st.lists(numbers, max_size=200), st.integers(1, 50))
def test_thinning_keeps_the_largest(values: list[int], most: int) -> None:
    thinned = thin(values, most)
    assert len(thinned) == min(len(values), most)
    assert max(thinned, default=0) == max(values, default=0)
