"""What a worker adds up for metrics, and how it is written on the page."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from posthorse.rules.tallies import bucket_of, encode_histogram
from posthorse.store.operations.tallies import Counted, DepthRow
from posthorse.telemetry.exposition import SPANS, WorkerFigures, metrics_page
from posthorse.telemetry.latencies import Latencies
from posthorse.telemetry.store_samples import StoreSample
from posthorse.telemetry.totals import MAX_SERIES, KindTotals, WorkerTotals, cumulative


def counted(kind: str, happened: str, times: int, *micros: int, queue: str = "default") -> Counted:
    over: dict[int, int] = {}
    for each in micros:
        over[bucket_of(each)] = over.get(bucket_of(each), 0) + 1
    return Counted(queue, kind, "", happened, times, sum(micros), encode_histogram(over))


def scraped(series: dict[tuple[str, str], KindTotals], store: StoreSample | None = None) -> dict[str, dict[str, float]]:
    """Return the values of each metric by its labels, as a client of Prometheus reads them."""
    figures = WorkerFigures("1", "", series, 1, 0, 1, 0, Latencies())
    body, _ = metrics_page(figures, store, "")
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[",".join(sample.labels[label] for label in sorted(sample.labels))] = (
                sample.value
            )
    return found


def test_reports_of_runners_add_up() -> None:
    totals = WorkerTotals()
    totals.add([counted("welcome", "started", 2, 1000, 2000), counted("welcome", "completed", 2, 500_000, 700_000)])
    totals.add([counted("welcome", "started", 1), counted("welcome", "retried", 1, 100_000)])
    one = totals.series["default", "welcome"]
    assert one.times == {"started": 3, "completed": 2, "retried": 1}
    assert (one.waited.micros, sum(one.waited.over.values())) == (3000, 2)
    assert (one.ran.micros, sum(one.ran.over.values())) == (1_300_000, 3)


def test_kinds_beyond_the_most_are_counted_together() -> None:
    totals = WorkerTotals()
    totals.add(counted(f"kind{number}", "completed", 1, 10) for number in range(MAX_SERIES + 30))
    totals.add([counted("kind0", "completed", 1, 10), counted(f"kind{MAX_SERIES + 1}", "completed", 1, 10)])
    assert len(totals.series) == MAX_SERIES + 1
    assert totals.series["default", "kind0"].times["completed"] == 2
    assert totals.series["other", "other"].times["completed"] == 31


def test_a_histogram_is_cumulative_and_ends_with_the_count_of_all() -> None:
    over = {bucket_of(micros): times for micros, times in ((1, 1), (80_000, 2), (7_000_000, 4), (10**11, 8))}
    counts = dict(zip((*SPANS, "+Inf"), cumulative(over, SPANS), strict=True))
    assert (counts[0.005], counts[0.1], counts[5.0], counts[10.0], counts[3600.0], counts["+Inf"]) == (
        1,
        3,
        3,
        7,
        7,
        15,
    )
    assert cumulative({}, SPANS) == [0] * (len(SPANS) + 1)


def test_names_of_users_cannot_break_the_page() -> None:
    totals = WorkerTotals()
    totals.add([counted('a"} 7\nb\\', "completed", 3, 10, queue="größe")])
    assert scraped(totals.series)["jobs_finished_total"]['a"} 7\nb\\,größe,completed'] == 3


def test_a_worker_that_did_nothing_has_a_page() -> None:
    found = scraped({})
    assert found["jobs_store_up"] == {"": 0}
    assert found["jobs_slots"] == {"": 1}
    assert "jobs_workers" not in found


def test_queues_beyond_the_most_are_added_up() -> None:
    depths = {
        f"q{number}": DepthRow(7, f"q{number}", number, 0, 0, 0, 0, 1, number) for number in range(MAX_SERIES + 3)
    }
    found = scraped({}, StoreSample(7, depths, 1, 0.0, {}))["jobs_queue_depth"]
    assert len(found) == 6 * (MAX_SERIES + 1)
    assert (found["q202,pending"], found["other,pending"], found["other,failed"]) == (202, 0 + 1 + 2, 3)


def test_stocks_are_shown_by_what_they_hold() -> None:
    stocks = {("tickets", "made"): (3, 4_000_000), ("tickets", "ordered"): (2, 9_000_000)}
    found = scraped({}, StoreSample(10_000_000, {}, 1, 0.0, {}, stocks))
    assert found["jobs_stock_results"] == {"made,tickets": 3, "ordered,tickets": 2}
    assert found["jobs_stock_oldest_age_seconds"] == {"tickets": 6}
    assert "jobs_stock_results" not in scraped({}, StoreSample(7, {}, 1, 0.0, {}))
