"""The operator's settings, where their limits have a reason in its other parts."""

from __future__ import annotations

import pytest

from parley_operator.config import OperatorConfig
from parley_operator.demand import History
from parley_shared.config import ConfigError, load
from tests.unit.operator.builders import NOW


def interval(text: str) -> float:
    """Read INTERVAL as the process does."""
    return load(OperatorConfig, {"INTERVAL": text, "SERVICE_TOKENS": "a" * 16}).interval_seconds


def test_an_interval_that_would_never_shrink_is_refused() -> None:
    """With a hole after each look no window is ever full; the longest one leaves time for a slow look."""
    with pytest.raises(ConfigError, match=r"INTERVAL .* from 0\.05 s to 45 s"):
        interval("46s")
    period = interval("45s") + 14
    history = History()
    for step in range(8):
        history = history.add(NOW + step * period, 1, 300)
    assert history.covers(NOW + 8 * period, 300)
