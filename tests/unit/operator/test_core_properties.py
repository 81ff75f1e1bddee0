"""What holds of the decision whatever it is given."""

from __future__ import annotations

import dataclasses
import random

from hypothesis import given
from hypothesis import strategies as st

from parley_operator.core import (
    CancelDrain,
    Drain,
    FinishDrain,
    Hold,
    Pod,
    Rebalance,
    Remove,
    ScaleUp,
    Shed,
    StartDrain,
    View,
    decide,
)
from parley_operator.demand import History, enough, needed
from parley_operator.simulation import run_operator
from parley_operator.spec import Rebalance as RebalanceRules
from parley_operator.spec import ScaleDown, Spec
from parley_operator.spec import ScaleUp as ScaleUpRules
from parley_shared.api import SHED_NOTICE_SECONDS
from tests.unit.operator.builders import NOW

counts = st.integers(0, 3000)


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """Make any spec that the CRD accepts, in the sizes that the views have."""
    most = draw(st.integers(1, 15))
    return Spec(
        deployment="gateway",
        paused=draw(st.integers(0, 9)) == 0,
        replicas=draw(st.one_of(st.none(), st.none(), st.integers(1, 20))),
        min_replicas=draw(st.integers(1, most)),
        max_replicas=most,
        target_connections=draw(st.integers(1, 2000)),
        headroom_replicas=draw(st.integers(0, most - 1)),
        scale_up=ScaleUpRules(
            step_replicas=draw(st.integers(1, 20)), stabilization_window_seconds=draw(st.integers(0, 120))
        ),
        scale_down=ScaleDown(
            step_percent=draw(st.integers(1, 25)),
            stabilization_window_seconds=draw(st.integers(0, 120)),
            tolerance_percent=draw(st.integers(0, 50)),
        ),
        rebalance=RebalanceRules(
            enabled=draw(st.booleans()),
            threshold_percent=draw(st.integers(5, 100)),
            min_connections=draw(st.integers(1, 200)),
            connections_per_second=draw(st.integers(1, 100)),
        ),
    )


@st.composite
def views(draw: st.DrawFn, rules: Spec) -> View:
    """Make any state of a cluster: pods missing, pending, silent, a rollout, a stranger, budgets."""
    there = tuple(
        Pod(
            name=f"pod-{index}",
            uid=f"uid-{index}",
            ready=draw(st.integers(0, 4)) > 0,
            connections=draw(st.one_of(counts, counts, counts, st.none())),
            pending=draw(st.integers(0, 9)) == 0,
        )
        for index in range(draw(st.integers(0, 15)))
    )
    return View(
        now=NOW,
        replicas=draw(st.one_of(st.just(len(there)), st.just(len(there)), st.integers(0, 18))),
        pods=there,
        minimum=draw(st.integers(rules.min_replicas, rules.max_replicas)),
        rollout=draw(st.integers(0, 9)) == 0,
        other_manager=draw(st.sampled_from([None, None, None, None, "HorizontalPodAutoscaler/x"])),
        store_answered=draw(st.integers(0, 9)) > 0,
        orphaned=draw(st.sampled_from([0, 0, 50])),
        disruptions_allowed=draw(st.one_of(st.none(), st.integers(0, 5))),
    )


@st.composite
def drains(draw: st.DrawFn, known: View) -> Drain | None:
    """Make a drain of some of the pods, sometimes of one that is gone, or none."""
    chosen = draw(st.lists(st.sampled_from(known.pods), unique=True, max_size=3)) if known.pods else []
    if not chosen or draw(st.booleans()):
        return None
    if draw(st.integers(0, 4)) == 0:
        chosen.append(Pod("gone", "uid-gone", ready=False, connections=0))
    before = draw(st.sampled_from([known.replicas, known.replicas + len(chosen), known.replicas + 1]))
    deadline = NOW + draw(st.sampled_from([-5, 0, 30]))
    return Drain(tuple(chosen), before, before - len(chosen), NOW - 60, deadline)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Make a history: none, or one that may or may not cover the windows."""
    if draw(st.booleans()):
        return History()
    ages = sorted(draw(st.lists(st.integers(1, 200), min_size=1, max_size=6)), reverse=True)
    samples = tuple((NOW - age, draw(counts)) for age in ages)
    return History(samples, samples[0][0])


@given(st.data())
def test_the_rules_hold(data: st.DataObject) -> None:
    """Limits, step, missing data, interlocks, budgets and rate hold for every action there is."""
    rules = data.draw(specs())
    known = data.draw(views(rules))
    drain = data.draw(drains(known))
    shed = data.draw(st.one_of(st.none(), st.builds(Shed, st.floats(NOW - 30, NOW), st.integers(1, 500))))
    decision = decide(rules, known, data.draw(histories()), drain, shed)
    assert known.minimum <= decision.desired <= rules.max_replicas
    blocked = rules.paused or known.replicas == 0 or known.other_manager is not None or known.rollout
    if blocked:
        assert isinstance(decision.action, Hold | CancelDrain | FinishDrain)
    match decision.action:
        case ScaleUp(to=to):
            assert drain is None
            assert known.replicas < to <= rules.max_replicas
            assert to - known.replicas <= rules.scale_up.step_replicas
        case StartDrain(drain=started):
            check_start(rules, known, started)
            assert drain is None
        case Remove(to=to):
            check_removal(known, drain, to)
        case CancelDrain() | FinishDrain():
            assert drain is not None
        case Rebalance(counts=shares):
            assert drain is None
            check_rebalance(rules, known, shares, shed)
        case Hold():
            pass


@given(st.data())
def test_what_is_leaving_stays_drained(data: st.DataObject) -> None:
    """Once the replicas are lowered nothing gives the drained pods back before that has taken effect."""
    rules = data.draw(specs())
    known = data.draw(views(rules))
    if (drain := data.draw(drains(known))) is None:
        return
    known = dataclasses.replace(known, replicas=drain.to_replicas)
    action = decide(rules, known, data.draw(histories()), drain, None).action
    present = {pod.uid for pod in known.pods} & {pod.uid for pod in drain.pods}
    gone = not known.rollout and (not present or len(known.pods) <= drain.to_replicas)
    assert isinstance(action, FinishDrain if gone and known.replicas > 0 else Hold | FinishDrain)
    assert gone or isinstance(action, Hold)


def check_start(rules: Spec, known: View, drain: Drain) -> None:
    """A drain begins only on complete data, within step, limits and budgets, with the least loaded."""
    assert known.complete
    assert len(known.pods) == known.replicas == drain.from_replicas
    assert drain.to_replicas == known.replicas - len(drain.pods)
    assert 1 <= len(drain.pods) <= max(1, known.replicas * rules.scale_down.step_percent // 100)
    # A number above the limits comes down step by step; from within them it never falls below the least.
    assert drain.to_replicas >= min(known.minimum, rules.max_replicas)
    if rules.replicas is None:
        assert drain.to_replicas >= min(rules.max_replicas, needed(rules, known.expected))
    ready = [pod for pod in drain.pods if pod.ready]
    if known.disruptions_allowed is not None:
        assert len(ready) <= known.disruptions_allowed
    kept = [pod.connections or 0 for pod in known.pods if pod not in drain.pods and pod.ready]
    assert all((pod.connections or 0) <= min(kept, default=0) for pod in ready if kept and not pod.pending)


def check_removal(known: View, drain: Drain | None, to: int) -> None:
    """Only a drain under way removes, on complete data, its own pods, empty or after their time."""
    assert drain is not None
    assert known.complete
    assert known.replicas == drain.from_replicas
    assert to == drain.to_replicas >= min(known.minimum, to)
    leaving = [pod for pod in known.pods if pod.uid in {one.uid for one in drain.pods}]
    assert len(leaving) == len(drain.pods)
    assert known.now >= drain.deadline or all(pod.connections == 0 for pod in leaving)


def check_rebalance(rules: Spec, known: View, shares: tuple[tuple[Pod, int], ...], shed: Shed | None) -> None:
    """Shedding takes from the fullest what is above the mean, within its rate, and leaves most pods ready."""
    assert rules.rebalance.enabled
    assert known.complete
    assert all(pod.ready for pod in known.pods)
    mean = known.demand / len(known.pods)
    for pod, count in shares:
        assert pod.connections is not None
        assert 1 <= count <= pod.connections - mean + 1
    assert 1 <= len(shares) <= max(1, len(known.pods) // 4)
    assert sum(count for _, count in shares) <= rules.rebalance.connections_per_second * 10
    if shed is not None:
        closing = shed.connections / rules.rebalance.connections_per_second
        assert known.now - shed.at >= SHED_NOTICE_SECONDS + closing


@given(st.data())
def test_more_is_never_answered_by_less(data: st.DataObject) -> None:
    """What is needed grows with the load, and what is enough never falls below it."""
    rules = data.draw(specs())
    one, other = sorted((data.draw(counts), data.draw(counts)))
    assert needed(rules, one) <= needed(rules, other) <= enough(rules, other)


@given(
    load=st.integers(0, 60_000),
    start=st.integers(0, 60_000),
    tolerance=st.integers(5, 30),
    seed=st.integers(0, 1000),
)
def test_it_comes_to_rest(load: int, start: int, tolerance: int, seed: int) -> None:
    """Whatever came before, a load with noise within half the tolerance ends in a number that stays."""
    rules = Spec(
        deployment="gateway",
        max_replicas=15,
        scale_down=ScaleDown(tolerance_percent=tolerance, stabilization_window_seconds=60),
    )
    chance = random.Random(seed)
    noise = tolerance / 200
    settled = [round(load * (1 + chance.uniform(-noise, noise))) for _ in range(300)]
    result = run_operator(rules, [start] * 10 + settled, random.Random(seed))
    # Fifteen pods shrink to two within 150 ticks; what follows may grow once, when the noise is highest.
    rest = result.replicas[200:]
    assert len(set(rest)) <= 2
    assert rest == sorted(rest)
    assert result.forced_at_once == 0


@given(
    st.lists(st.tuples(st.integers(0, 50_000), st.integers(1, 60)), min_size=1, max_size=8),
    st.integers(0, 99),
)
def test_any_day_keeps_the_rules(steps: list[tuple[int, int]], seed: int) -> None:
    """Along any sequence of loads the replicas stay within the limits and nobody is cut off."""
    rules = Spec(deployment="gateway", scale_down=ScaleDown(stabilization_window_seconds=60))
    result = run_operator(rules, [load for load, ticks in steps for _ in range(ticks)], random.Random(seed))
    assert min(result.replicas) >= rules.min_replicas
    assert max(result.replicas) <= rules.max_replicas
    assert result.forced_at_once == 0


def test_a_decision_changes_nothing_it_was_given() -> None:
    """The same input gives the same answer: the decision keeps no state of its own."""
    there = tuple(Pod(f"pod-{index}", f"uid-{index}", ready=True, connections=index) for index in range(6))
    known = View(now=NOW, replicas=6, pods=there, minimum=1)
    rules = Spec(deployment="gateway", scale_down=ScaleDown(stabilization_window_seconds=0))
    first = decide(rules, known, History(), None, None)
    assert first == decide(rules, dataclasses.replace(known), History(), None, None)
