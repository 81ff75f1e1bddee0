"""The benchmark's figures are summarised and compared correctly."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tests.bench import history, report
from tests.bench.load import percentile_ms
from tests.bench.report import Spread

if TYPE_CHECKING:
    from pathlib import Path

RATE = "rate 500/s x2.total_us"
SAMPLES: report.Samples = {
    "parley": [
        {RATE: 100.0, "acked rate 500/s x2.total_us": 150.0, "rate 500/s x8.total_us": 110.0},
        {RATE: 200.0, "acked rate 500/s x2.total_us": 200.0, "rate 500/s x8.total_us": 180.0},
        {RATE: 300.0},
    ],
    "node": [{RATE: 200.0}, {RATE: 800.0}, {RATE: 300.0}],
}


def test_spread_is_median_and_extremes_of_the_numbers() -> None:
    """Values that are not numbers are left out; without any there is no spread."""
    assert Spread.of([3.0, math.nan, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    assert Spread.of([math.nan]) is None


def test_ratios_pair_the_runs() -> None:
    """A ratio is taken within each run, then summarised."""
    assert report.ratio(SAMPLES, RATE, "node") == Spread(0.5, 0.25, 1.0)


def test_acknowledged_work_is_compared_with_the_same_work_without() -> None:
    """Peers know no acknowledgements: ours with them stands against theirs without."""
    assert report.ratio(SAMPLES, "acked rate 500/s x2.total_us", "node") == Spread(0.5, 0.25, 0.75)


def test_more_servers_are_compared_with_two() -> None:
    """Our figure at eight servers is given as a multiple of our own at two, of the runs that have both."""
    assert report.own_ratio(SAMPLES, "rate 500/s x8.total_us", RATE) == Spread(1.0, 0.9, 1.1)
    assert "| rate 500/s x8 | rate 500/s x2 | 1.00 (0.900..1.10) |" in report.markdown(SAMPLES)


def test_report_shows_every_system_and_ratio() -> None:
    """The comparison has a column for each system and one for the ratio to each peer."""
    lines = report.markdown(SAMPLES).splitlines()
    assert lines[0] == "| work | measure | parley | node | parley/node |"
    expected = "200 (100..300) | 300 (200..800) | 0.500 (0.250..1.00) |"
    assert lines[2] == f"| rate 500/s x2 | CPU a message, us | {expected}"


def test_report_of_peers_alone_has_no_ratios() -> None:
    """Without our own figures the peers' are still shown."""
    assert report.markdown({"node": SAMPLES["node"]}).startswith("| work | measure | node |\n")


def test_history_keeps_the_newest_entry_last(tmp_path: Path) -> None:
    """What is appended is what is read back, with the commit it belongs to."""
    file = tmp_path / "history.jsonl"
    assert history.last(file) is None
    history.append({RATE: {"node": 0.7}}, 7, {}, file)
    history.append({RATE: {"node": 0.6}}, 7, {"python": "3.13.5"}, file)
    entry = history.last(file)
    assert entry is not None
    assert entry["ratios"] == {RATE: {"node": 0.6}}
    assert entry["software"] == {"python": "3.13.5"}
    assert entry["commit"]
    assert len(file.read_text().splitlines()) == 2


def test_only_what_grew_by_more_than_the_noise_is_worse() -> None:
    """A ratio is told when it grew by more than 15 %; a new one is not."""
    before = {RATE: {"node": 1.0, "stock": 0.5}}
    now = {RATE: {"node": 1.16, "stock": 0.57}, "new": {"node": 9.0}}
    assert history.worsened(now, before) == [f"{RATE} to node: 1 -> 1.16"]


def test_percentiles_are_by_nearest_rank() -> None:
    """Percentiles are values that occurred, in milliseconds; without values there is none."""
    values = [n * 1_000_000 for n in range(100, 0, -1)]
    assert percentile_ms(values, 0.50) == 50
    assert percentile_ms(values, 0.99) == 99
    assert math.isnan(percentile_ms([], 0.5))
