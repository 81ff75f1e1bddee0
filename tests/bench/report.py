"""Turns the figures of all runs into medians, spreads, ratios and Markdown."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

OWN: Final = "parley"

Samples = dict[str, list[dict[str, float]]]
"""By system, the figures of each run; run n of one system was measured beside run n of the others."""

ACKED: Final = "acked "
"""Begins the name of work that the peers, who know no acknowledgements, do without them."""

HEADLINES: Final = {
    "total_us": "CPU a message, us",
    "receipt_p99_ms": "p99 emit to receipt, ms",
    "total_ms": "CPU a connect, ms",
    "users_kib": "size of `users`, KiB",
    "rss_kib": "memory a connection (RSS), KiB",
    "pss_kib": "memory a connection (PSS), KiB",
    "rss_from_empty_kib": "memory a connection since the start (RSS), KiB",
    "seconds": "time to ready, s",
    "rss_mib": "memory (RSS), MiB",
}
"""The measures that are compared between systems, and that the history keeps."""

DETAILS: Final = {
    "gateways": "servers",
    "store": "store",
    "redis": "Redis",
    "total": "total",
    "per_second": "messages/s",
    "in_flight": "in flight",
    "receipt_p50_ms": "p50 ms",
    "receipt_p99_ms": "p99 ms",
    "ack_p50_ms": "ack p50 ms",
    "ack_p99_ms": "ack p99 ms",
    "missing": "missing",
    "disordered": "doubled or disordered",
    "refused": "refused",
    "recovered": "recovered",
    "generator_cpu": "generator CPU",
    "late_ms": "generator late ms",
}
"""The columns of the second table; the first four stand for `_us` or `_ms`, whichever the work has."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some runs, and the least and the greatest of them."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """Summarise the values that are numbers; None when there are none."""
        known = [value for value in values if math.isfinite(value)]
        if not known:
            return None
        return cls(statistics.median(known), min(known), max(known))

    def __str__(self) -> str:
        if self.least == self.most:
            return _number(self.median)
        return f"{_number(self.median)} ({_number(self.least)}..{_number(self.most)})"


def works(samples: Samples) -> list[str]:
    """The names of all work that was measured, in the order of first appearance."""
    names = (figure.rpartition(".")[0] for runs in samples.values() for run in runs for figure in run)
    return list(dict.fromkeys(names))


def spread(samples: Samples, system: str, figure: str) -> Spread | None:
    """One system's figure over all runs that have it."""
    return Spread.of(run[figure] for run in samples.get(system, []) if figure in run)


def ratio(samples: Samples, figure: str, peer: str) -> Spread | None:
    """Our figure as a multiple of a peer's: of each run's pair, so that a slow minute counts for both."""
    theirs = figure.removeprefix(ACKED)
    pairs = zip(samples.get(OWN, []), samples.get(peer, []), strict=False)
    return Spread.of(
        own[figure] / other[theirs] for own, other in pairs if figure in own and other.get(theirs)
    )


def own_ratio(samples: Samples, figure: str, base: str) -> Spread | None:
    """One of our figures as a multiple of another of the same run."""
    runs = samples.get(OWN, [])
    return Spread.of(run[figure] / run[base] for run in runs if figure in run and run.get(base))


def ratios(samples: Samples) -> dict[str, dict[str, float]]:
    """The median ratios to each peer, by figure: what the history keeps."""
    peers = [system for system in samples if system != OWN]
    table = {
        figure: {peer: round(found.median, 3) for peer in peers if (found := ratio(samples, figure, peer))}
        for figure in _headlines(samples)
    }
    return {figure: found for figure, found in table.items() if found}


def markdown(samples: Samples) -> str:
    """The whole report: what is compared, ours within itself, and the details."""
    return "\n\n".join(part for part in (_comparison(samples), _within(samples), _details(samples)) if part)


def _headlines(samples: Samples) -> list[str]:
    present = {figure for runs in samples.values() for run in runs for figure in run}
    wanted = (f"{work}.{measure}" for work in works(samples) for measure in HEADLINES)
    return [figure for figure in wanted if figure in present]


def _comparison(samples: Samples) -> str:
    systems = list(samples)
    peers = [system for system in systems if system != OWN] if OWN in systems else []
    rows = []
    for figure in _headlines(samples):
        work, _, measure = figure.rpartition(".")
        theirs = figure.removeprefix(ACKED)
        values = [spread(samples, system, figure if system == OWN else theirs) for system in systems]
        rows.append([work, HEADLINES[measure], *values, *(ratio(samples, figure, peer) for peer in peers)])
    return _table(["work", "measure", *systems, *(f"{OWN}/{peer}" for peer in peers)], rows)


def _within(samples: Samples) -> str:
    """Ours against ours: what more servers cost, and what recovery saves."""
    rows: list[list[object]] = []
    for work in works(samples):
        base = None
        if work.startswith("rate 500/s x") and work != "rate 500/s x2":
            base = "rate 500/s x2"
        elif work.startswith("reconnect, "):
            base = work.removeprefix("re")
        measure = "total_ms" if work.startswith("reconnect") else "total_us"
        if base and (found := own_ratio(samples, f"{work}.{measure}", f"{base}.{measure}")):
            rows.append([work, base, found])
    return _table(["Parley's CPU for", "to that for", "ratio"], rows) if rows else ""


def _details(samples: Samples) -> str:
    rows: list[list[object]] = []
    for work in works(samples):
        for system in samples:
            cells: list[object] = []
            for name in DETAILS:
                figures = (f"{work}.{name}", f"{work}.{name}_us", f"{work}.{name}_ms")
                found = next(filter(None, (spread(samples, system, figure) for figure in figures)), None)
                cells.append(_number(found.median) if found else "")
            if any(cells):
                rows.append([work, system, *cells])
    return _table(["work (CPU in us a message or ms a connect)", "system", *DETAILS.values()], rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join("" if cell is None else str(cell) for cell in line) + " |" for line in lines
    )


def _number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"
