"""The table of a run, as people read it."""

from __future__ import annotations

from tests.chaos.runner import Result
from tests.chaos.timing import percentile


def report(result: Result, seed: int, seconds: float) -> str:
    """Write the tables of a run."""
    lines = [
        f"chaos: seed {seed}, {seconds:.0f} s of faults in {result.rounds} rounds",
        "",
        f"{'fault':<40}{'times':>8}",
        *(f"{kind:<40}{count:>8}" for kind, count in sorted(result.faults.items())),
        f"{'all':<40}{sum(result.faults.values()):>8}",
        "",
        f"{'checked':<40}{'number':>8}",
        f"{'messages acknowledged and found':<40}{result.sent:>8}",
        f"{'messages seen by clients':<40}{result.seen:>8}",
        f"{'returns, recovered':<40}{result.returns['recovered']:>8}",
        f"{'returns, afresh':<40}{result.returns['afresh']:>8}",
        "",
        f"{'attempts to recover (metrics)':<40}{'number':>8}",
        *(f"{outcome:<40}{count:>8}" for outcome, count in sorted(result.outcomes.items()) if count),
        "",
    ]
    lasts = [max(times) for times in result.lone_times]
    lines += [
        f"{text}: {len(times)} times, p50 {percentile(times, 0.5):.2f} s, p99 {percentile(times, 0.99):.2f} s"
        for text, times in (
            ("kill -9 of a gateway, nothing else wrong, to its last client back and complete", lasts),
            ("the same to each client", [time for times in result.lone_times for time in times]),
            ("kill -9 of a gateway among other faults to each client back and complete", result.times),
        )
        if times
    ]
    if result.errors:
        lines += ["", "errors logged by services:"]
        lines += [f"  {count:>5}  {text}" for text, count in result.errors.most_common()]
    lines += ["", f"violations: {len(result.violations)}"]
    lines += [f"  {found.kind} {found.who}: {found.text}" for found in result.violations[:50]]
    return "\n".join(lines)
