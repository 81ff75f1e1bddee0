"""The file of ratios by commit, and what has become worse since its last line."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
from typing import TYPE_CHECKING, Any, Final

from tests.bench.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

FILE: Final = ROOT / "tests/bench/history.jsonl"

WORSE: Final = 1.15
"""A ratio that has grown by more than this is told; less is within what two runs on one machine differ by."""

Ratios = dict[str, dict[str, float]]


def last(file: Path = FILE) -> dict[str, Any] | None:
    """Read the newest entry; None when there is none."""
    if not file.exists():
        return None
    lines = file.read_text().splitlines()
    entry: dict[str, Any] | None = json.loads(lines[-1]) if lines else None
    return entry


def append(ratios: Ratios, runs: int, software: dict[str, str], file: Path = FILE) -> None:
    """Add an entry for the commit that is checked out; `+` marks uncommitted changes."""
    entry = {
        "commit": _git("rev-parse", "--short=12", "HEAD") + ("+" if _git("status", "--porcelain") else ""),
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d"),
        "runs": runs,
        "software": software,
        "ratios": ratios,
    }
    with file.open("a") as lines:
        lines.write(json.dumps(entry, sort_keys=True) + "\n")


def worsened(now: Ratios, before: Ratios) -> list[str]:
    """Say of each ratio that has grown by more than 15 % how much."""
    return [
        f"{figure} to {peer}: {before[figure][peer]:g} -> {ratio:g}"
        for figure, peers in now.items()
        for peer, ratio in peers.items()
        if ratio > before.get(figure, {}).get(peer, float("inf")) * WORSE
    ]


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
