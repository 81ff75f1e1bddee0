"""``python -m tests.chaos.fuzz``: noise at every door, nothing but clear refusals."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.chaos.fuzz.run import SETTINGS, fuzz
from tests.harness.stack import Stack

GROWTH_LIMIT_BYTES: Final = 32 * 1024 * 1024


def main() -> int:
    """Run and print; the exit status is 1 when something was not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=None, help="of the noise; printed when left out")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 30) if asked.seed is None else asked.seed
    with (
        tempfile.TemporaryDirectory(prefix="parley-fuzz-") as folder,
        Stack(Path(folder), settings=SETTINGS) as stack,
    ):
        found = asyncio.run(fuzz(stack, asked.inputs, seed, progress=_say))
    _say(f"seed {seed}")
    for door, count in found.inputs.most_common():
        _say(f"{door:<24}{count:>8}")
    for name, grown in found.grown_bytes.items():
        _say(f"{name:<24}{grown / 1024 / 1024:>+8.1f} MiB after the first part")
    for line in (*found.unclear, *found.logged):
        _say(f"  {line[:600]}")
    bad = found.unclear or found.logged or max(found.grown_bytes.values()) > GROWTH_LIMIT_BYTES
    _say("FAILED" if bad else "nothing but clear refusals")
    return 1 if bad else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
