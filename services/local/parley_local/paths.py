"""Where things are in a checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
"""The checkout."""

RUNS: Final = ROOT / ".run"
"""What runs here keeps its data and locks in this folder; git ignores it."""

WEB: Final = ROOT / "services" / "web"
"""The web page's npm package; built into its ``dist``."""
