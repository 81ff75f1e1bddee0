"""The decision over a whole day, against the model of a cluster."""

from __future__ import annotations

import random

import msgspec
import pytest

from parley_operator.simulation import CURVES, SPEC, Result, loads, run_hpa, run_operator

MOST_TURNS = {"office day": 3, "evening peak": 1, "flash crowd": 1, "at the border": 0, "client outages": 0}
"""How often each curve itself turns: an autoscaler that turns more often flaps."""


def day(curve: str, seed: int, headroom: int = 1) -> Result:
    """Run the operator over a day of a curve."""
    rules = msgspec.structs.replace(SPEC, headroom_replicas=headroom)
    return run_operator(rules, loads(CURVES[curve], seed), random.Random(seed))


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("seed", [1, 2])
def test_it_does_not_flap(curve: str, seed: int) -> None:
    """The replicas turn no more often than the load does, whatever the noise."""
    assert day(curve, seed).reversals <= MOST_TURNS[curve]


@pytest.mark.parametrize("curve", CURVES)
def test_it_cuts_nobody_off(curve: str) -> None:
    """Pods are empty when they are removed, and limits hold all day."""
    result = day(curve, 3)
    assert result.forced_at_once == 0
    assert min(result.replicas) >= SPEC.min_replicas
    assert max(result.replicas) <= SPEC.max_replicas


def test_it_holds_the_target_better_than_the_formula() -> None:
    """On the office day the HPA's formula leaves pods overloaded for far longer, and cuts clients off."""
    formula = run_hpa(SPEC, loads(CURVES["office day"], 1), random.Random(1))
    result = day("office day", 1, headroom=0)
    assert result.overloaded_seconds < formula.overloaded_seconds / 10
    assert result.forced_at_once < formula.forced_at_once


def test_the_same_seed_gives_the_same_day() -> None:
    """The table in the documentation can be made again."""
    assert day("flash crowd", 5).replicas == day("flash crowd", 5).replicas
