"""``python -m tests.chaos``: random faults under real clients, everything checked."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tests.chaos.report import report
from tests.chaos.runner import run
from tests.chaos.world import Options


def main() -> int:
    """Run and print; the exit status is 1 when a promise was broken."""
    usual = Options()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long faults are inflicted")
    parser.add_argument("--seed", type=int, default=None, help="chooses the faults; printed when left out")
    parser.add_argument("--users", type=int, default=usual.users)
    parser.add_argument("--gateways", type=int, default=usual.gateways)
    parser.add_argument("--stores", type=int, default=usual.stores)
    parser.add_argument("--pause", type=float, default=usual.pause, help="mean seconds between two messages")
    parser.add_argument("--durability", choices=("fast", "disk"), default=usual.durability)
    parser.add_argument("--folder", type=Path, help="keep data and logs there")
    parser.add_argument(
        "--broken", action="store_true", help="run a gateway that acknowledges too early: must fail"
    )
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 30) if asked.seed is None else asked.seed
    sys.stdout.write(f"seed {seed}\n")
    options = Options(
        gateways=asked.gateways,
        stores=asked.stores,
        users=asked.users,
        pause=asked.pause,
        durability=asked.durability,
        gateway_module="tests.chaos.broken" if asked.broken else usual.gateway_module,
    )
    with tempfile.TemporaryDirectory(prefix="parley-chaos-") as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = asyncio.run(run(folder, asked.minutes * 60, seed, options, progress=_say))
    sys.stdout.write("\n" + report(result, seed, asked.minutes * 60) + "\n")
    return 1 if result.violations else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
