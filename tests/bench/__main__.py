"""`make bench`: measure Parley beside its peers and report ratios.

The systems take turns at every scenario of every run, so that what else the machine does falls on all of
them. Nothing is asserted about speed; the exit status is 1 only when something could not be measured.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import gc
import json
import os
import sys
import time
from typing import Final

import aiohttp
import uvloop

from parley_shared.runtime import StartError
from tests.bench import history, report
from tests.bench.guide import Node, StockPython
from tests.bench.parley import Parley
from tests.bench.processes import ROOT, ProcessFailedError
from tests.bench.scenarios import Options, Scenario, scenarios
from tests.bench.software import software
from tests.bench.systems import System
from tests.bench.wire import WireError

SYSTEMS: Final[dict[str, type[System]]] = {kind.name: kind for kind in (Parley, StockPython, Node)}
QUICK: Final = Options(
    seconds=4, warm_seconds=1, windows=(100, 400), idle_connections=(200, 400), cold_known=10_000
)


def main() -> int:
    """Read the command line, measure, print, and keep the result."""
    arguments = _parser().parse_args()
    everything = scenarios(arguments.servers)
    chosen = [scenario for scenario in everything if scenario.name in (arguments.only or [scenario.name])]
    if not chosen:
        _say(f"no such scenario; there are: {' '.join(scenario.name for scenario in everything)}")
        return 2
    bench = Bench(
        kinds=[SYSTEMS[name] for name in arguments.systems],
        chosen=chosen,
        options=_options(arguments),
        runs=1 if arguments.quick else arguments.runs,
    )
    used = software()
    _say("; ".join(f"{name}: {version}" for name, version in used.items()))
    # The generator makes no cycles, and a collection in its midst would look like the servers' latency.
    gc.freeze()
    gc.disable()
    uvloop.run(bench.measure())
    found = report.ratios(bench.samples)
    _say(f"\n{report.markdown(bench.samples)}\n\nAll figures: {bench.output.relative_to(ROOT)}")
    if before := history.last():
        worse = history.worsened(found, before["ratios"])
        if before.get("software") != used:
            _say(f"\nThe entry before was measured on other software: {before.get('software', 'unknown')}")
        _say(f"\nWorse by more than 15 % than at {before['commit']}: " + ("; ".join(worse) or "nothing"))
    complete = not arguments.quick and not arguments.only and list(SYSTEMS) == arguments.systems
    if complete and not bench.failures:
        history.append(found, bench.runs, used)
    for failure in bench.failures:
        _say(f"FAILED {failure}")
    return 1 if bench.failures else 0


class Bench:
    """One `make bench`: which systems do what how often, and what came of it.

    Attributes:
        samples: The figures of each system's runs so far.
        failures: What could not be measured and why.
        output: The file that holds the samples, written anew after each scenario.
    """

    def __init__(
        self, kinds: list[type[System]], chosen: list[Scenario], options: Options, runs: int
    ) -> None:
        self.runs = runs
        self.samples: report.Samples = {kind.name: [{} for _ in range(runs)] for kind in kinds}
        self.failures: list[str] = []
        self.output = ROOT / ".run/bench" / time.strftime("%Y%m%d-%H%M%S.json")
        self._kinds = kinds
        self._chosen = chosen
        self._options = options

    async def measure(self) -> None:
        """Measure everything."""
        self.output.parent.mkdir(parents=True, exist_ok=True)
        for run in range(self.runs):
            for scenario in self._chosen:
                if run < scenario.most_runs:
                    await self._take_turns(run, scenario)

    async def _take_turns(self, run: int, scenario: Scenario) -> None:
        # Another system begins each run: none always profits from what the one before has warmed up.
        first = run % len(self._kinds)
        for kind in self._kinds[first:] + self._kinds[:first]:
            if scenario.own_only and kind is not Parley:
                continue
            began = time.monotonic()
            try:
                self.samples[kind.name][run] |= await scenario.run(kind, self._options)
                outcome = "done"
            except* (WireError, ProcessFailedError, StartError, OSError, aiohttp.ClientError) as group:
                outcome = f"failed: {group.exceptions[0]}"
                self.failures.append(
                    f"{scenario.name} of {kind.name} in run {run + 1}: {group.exceptions[0]}"
                )
            gc.collect()
            load = os.getloadavg()[0]
            _say(
                f"run {run + 1}/{self.runs} {scenario.name} {kind.name}: {outcome} "
                f"({time.monotonic() - began:.0f} s, load {load:.1f})"
            )
            await asyncio.to_thread(self.output.write_text, json.dumps(self.samples))


def _options(arguments: argparse.Namespace) -> Options:
    options = QUICK if arguments.quick else Options()
    seconds = arguments.seconds or options.seconds
    return dataclasses.replace(options, seconds=seconds, warm_seconds=seconds / 4)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="how often everything is measured (7)")
    parser.add_argument("--quick", action="store_true", help="one short run: a look, not a measurement")
    parser.add_argument("--seconds", type=float, help="length of one measurement under load (8; quick: 4)")
    parser.add_argument(
        "--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS), help="which of them"
    )
    parser.add_argument("--only", nargs="+", metavar="SCENARIO", help="which scenarios (all)")
    parser.add_argument(
        "--servers", nargs="+", type=int, default=[8], help="numbers of servers for scale-N, beside 2 (8)"
    )
    return parser


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
