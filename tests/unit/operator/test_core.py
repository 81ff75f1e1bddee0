"""The decision, case by case."""

from __future__ import annotations

import dataclasses

import pytest

from parley_operator.core import (
    CancelDrain,
    FinishDrain,
    Hold,
    Pod,
    Reason,
    Rebalance,
    Remove,
    ScaleUp,
    Shed,
    StartDrain,
)
from parley_operator.demand import History, enough, needed
from parley_operator.spec import Rebalance as RebalanceRules
from parley_operator.spec import ScaleDown
from parley_operator.spec import ScaleUp as ScaleUpRules
from tests.unit.operator.builders import NOW, act, drain_of, pods, spec, view


def test_it_grows_at_once_by_what_is_needed() -> None:
    """Ninety connections too many ask for the pods that carry them and for the head-room."""
    decision = act(spec(), view(pods(250, 240)))
    assert decision.action == ScaleUp(6, Reason.LOAD)
    assert decision.desired == 6


def test_it_grows_by_a_step_at_most() -> None:
    """The step of growing is kept, however much is needed."""
    rules = spec(scale_up=ScaleUpRules(step_replicas=2))
    assert act(rules, view(pods(900, 900))).action == ScaleUp(4, Reason.LOAD)


def test_it_grows_to_the_most_and_says_so() -> None:
    """The limit is reached and not exceeded."""
    decision = act(spec(max_replicas=4), view(pods(900, 900)))
    assert decision.action == ScaleUp(4, Reason.LIMITS)
    assert (decision.desired, decision.unlimited) == (4, 19)


def test_it_grows_on_what_is_known_when_an_answer_is_missing() -> None:
    """An overloaded pod that does not answer must not keep the others from being relieved."""
    assert act(spec(), view(pods(350, None), store_answered=False)).action == ScaleUp(5, Reason.LOAD)


def test_a_window_for_growing_waits() -> None:
    """With a window, a load that was lower within it does not add pods yet."""
    rules = spec(scale_up=ScaleUpRules(stabilization_window_seconds=60))
    quiet = History(((NOW - 30, 100),), NOW - 30)
    assert act(rules, view(pods(250, 240)), history=quiet).action == Hold(Reason.STEADY)


def test_a_window_for_growing_must_have_been_seen() -> None:
    """An operator that has just started waits a whole window, also after a hole; without one it grows."""
    rules = spec(scale_up=ScaleUpRules(stabilization_window_seconds=60))
    full = view(pods(250, 240))
    first = act(rules, full)
    assert first.action == Hold(Reason.STEADY)
    # The minimum is no matter of the load.
    assert act(rules, dataclasses.replace(full, minimum=4)).action == ScaleUp(4, Reason.LIMITS)
    again = act(rules, dataclasses.replace(full, now=NOW + 50), history=first.history)
    assert again.action == Hold(Reason.STEADY)
    covered = dataclasses.replace(full, now=NOW + 60)
    assert act(rules, covered, history=again.history).action == ScaleUp(6, Reason.LOAD)
    hole = History(((NOW - 300, 490), (NOW - 61, 490)), NOW - 300)
    assert act(rules, full, history=hole).action == Hold(Reason.STEADY)
    assert act(spec(), full).action == ScaleUp(6, Reason.LOAD)


@pytest.mark.parametrize(
    "missing", [{"pods": pods(0, 0, 0, None)}, {"pods": pods(0, 0, 0, 0), "store_answered": False}]
)
def test_a_missing_answer_holds(missing: dict[str, object]) -> None:
    """A gateway or the store that does not answer never counts as zero."""
    known = dataclasses.replace(view(pods(0, 0, 0, 0)), **missing)  # type: ignore[arg-type]
    assert act(spec(), known).action == Hold(Reason.DATA_MISSING)


def test_it_drains_the_least_loaded() -> None:
    """A quarter of eight pods is two: the two with the fewest connections."""
    decision = act(spec(), view(pods(9, 3, 9, 9, 1, 9, 9, 9)))
    assert isinstance(decision.action, StartDrain)
    drain = decision.action.drain
    assert [pod.name for pod in drain.pods] == ["e", "b"]
    assert (drain.from_replicas, drain.to_replicas, drain.deadline) == (8, 6, NOW + 300)


def test_one_pod_may_always_leave() -> None:
    """A quarter of two pods is less than one, and one still leaves."""
    action = act(spec(headroom_replicas=0), view(pods(5, 3))).action
    assert isinstance(action, StartDrain)
    assert [pod.name for pod in action.drain.pods] == ["b"]


def test_what_does_not_serve_leaves_first() -> None:
    """A pod without a node goes before one that is not ready, and both before any ready one."""
    known = (
        *pods(0, 5),
        Pod("x", "x", ready=False, connections=0),
        Pod("y", "y", ready=False, connections=0, pending=True),
    )
    action = act(spec(), view(known)).action
    assert isinstance(action, StartDrain)
    assert [pod.name for pod in action.drain.pods] == ["y"]


def test_it_waits_for_the_window_before_it_shrinks() -> None:
    """An operator that has just started does not know the last five minutes, and holds."""
    rules = spec(scale_down=ScaleDown(stabilization_window_seconds=300))
    assert act(rules, view(pods(1, 1, 1, 1))).action == Hold(Reason.STABILIZING)
    known = History(((NOW - 310, 4), (NOW - 5, 4)), NOW - 310)
    assert isinstance(act(rules, view(pods(1, 1, 1, 1)), history=known).action, StartDrain)


def test_a_peak_within_the_window_keeps_the_pods() -> None:
    """The most of the window counts, not the present."""
    rules = spec(scale_down=ScaleDown(stabilization_window_seconds=300))
    known = History(((NOW - 310, 4), (NOW - 100, 290), (NOW - 50, 4)), NOW - 310)
    assert act(rules, view(pods(1, 1, 1, 1)), history=known).action == Hold(Reason.STEADY)


def test_a_hole_in_the_observation_starts_the_window_anew() -> None:
    """Nobody knows what happened in a hole of more than a minute."""
    rules = spec(scale_down=ScaleDown(stabilization_window_seconds=300))
    known = History(((NOW - 600, 4), (NOW - 61, 4)), NOW - 600)
    assert act(rules, view(pods(1, 1, 1, 1)), history=known).action == Hold(Reason.STABILIZING)


def test_connections_that_come_back_keep_the_pods() -> None:
    """The clients of a gateway that is gone are expected elsewhere; they do not add pods, though."""
    assert act(spec(), view(pods(1, 1, 1, 1), orphaned=300)).action == Hold(Reason.STEADY)
    assert act(spec(), view(pods(1, 1, 1, 1), orphaned=900)).action == Hold(Reason.STEADY)


def test_the_tolerance_keeps_a_border_quiet() -> None:
    """Between what is needed and what is enough the number stays."""
    rules = spec(scale_down=ScaleDown(stabilization_window_seconds=0, tolerance_percent=10))
    assert (needed(rules, 290), enough(rules, 290)) == (4, 5)
    assert act(rules, view(pods(58, 58, 58, 58, 58))).action == Hold(Reason.STEADY)


def test_disruption_budgets_are_respected() -> None:
    """No more ready pods are drained than the budgets allow, and none at zero."""
    known = view(pods(0, 0, 0, 0, 0, 0, 0, 0), disruptions_allowed=1)
    action = act(spec(), known).action
    assert isinstance(action, StartDrain)
    assert len(action.drain.pods) == 1
    held = dataclasses.replace(known, disruptions_allowed=0)
    assert act(spec(), held).action == Hold(Reason.DISRUPTION_BUDGET)


def test_pods_that_are_being_made_or_removed_are_awaited() -> None:
    """Nothing is removed before the last change has arrived."""
    assert act(spec(), view(pods(0, 0, 0), replicas=4)).action == Hold(Reason.SETTLING)


def test_a_pinned_number_is_reached_by_draining() -> None:
    """The scale subresource pins the number; no window and no load speaks against it, only the limits."""
    rules = spec(replicas=3, scale_down=ScaleDown(stabilization_window_seconds=300))
    action = act(rules, view(pods(90, 90, 90, 80))).action
    assert isinstance(action, StartDrain)
    assert (action.reason, action.drain.to_replicas) == (Reason.PINNED, 3)
    assert act(spec(replicas=9), view(pods(1, 1))).action == ScaleUp(9, Reason.PINNED)
    assert act(spec(replicas=99), view(pods(1, 1))).action == ScaleUp(12, Reason.PINNED)


INTERLOCKS = [
    (Reason.PAUSED, {"paused": True}, {}),
    (Reason.SCALED_TO_ZERO, {}, {"replicas": 0}),
    (Reason.REPLICAS_MANAGED_ELSEWHERE, {}, {"other_manager": "HorizontalPodAutoscaler/x"}),
    (Reason.ROLLOUT_IN_PROGRESS, {}, {"rollout": True}),
]


@pytest.mark.parametrize(("reason", "rules", "known"), INTERLOCKS, ids=[row[0] for row in INTERLOCKS])
def test_it_keeps_out_of_the_way(reason: Reason, rules: dict[str, object], known: dict[str, object]) -> None:
    """Paused, scaled to zero, managed elsewhere, rolling out: it holds and gives a drain back."""
    there = pods(900, 900, 0, 0)
    assert act(spec(**rules), view(there, **known)).action == Hold(reason)
    drain = drain_of(there[3:], 4)
    assert act(spec(**rules), view(there, **known), drain=drain).action == CancelDrain(reason)


LEAVING = [row for row in INTERLOCKS if row[0] is not Reason.SCALED_TO_ZERO]


@pytest.mark.parametrize(("reason", "rules", "known"), LEAVING, ids=[row[0] for row in LEAVING])
def test_what_is_leaving_is_not_given_back(
    reason: Reason, rules: dict[str, object], known: dict[str, object]
) -> None:
    """Once the replicas are lowered the drained pod stays the one to go, whoever stops the operator then."""
    there = pods(9, 9, 9, 0)
    drain = drain_of(there[3:], 4)
    assert act(spec(**rules), view(there, **known, replicas=3), drain=drain).action == Hold(reason)
    # Gone, or spared because another one was taken (then it is given back): forgotten also in a pause.
    known, rollout = {**known, "rollout": False}, reason is Reason.ROLLOUT_IN_PROGRESS
    for left in (there[:3], there[1:]):
        action = act(spec(**rules), view(left, **known), drain=drain).action
        assert action == FinishDrain(Reason.DRAINED if rollout else reason)


def test_a_drain_waits_until_its_pods_are_empty() -> None:
    """The replicas are lowered only once nobody is left on the pods."""
    there = pods(9, 9, 9, 2)
    drain = drain_of(there[3:], 4)
    assert act(spec(), view(there), drain=drain).action == Hold(Reason.DRAINING)
    assert act(spec(), view(pods(9, 9, 9, 0)), drain=drain).action == Remove(3, Reason.DRAINED)


def test_a_drain_ends_at_its_deadline() -> None:
    """A pod that does not become empty is removed anyway once its time is over."""
    there = pods(9, 9, 9, 2)
    late = drain_of(there[3:], 4, deadline=NOW)
    assert act(spec(), view(there), drain=late).action == Remove(3, Reason.DRAIN_TIMEOUT)


def test_a_drain_removes_nothing_on_missing_data() -> None:
    """An empty pod does not count while somebody does not answer; at the deadline it is given back."""
    there = pods(9, 9, None, 0)
    assert act(spec(), view(there), drain=drain_of(there[3:], 4)).action == Hold(Reason.DATA_MISSING)
    late = drain_of(there[3:], 4, deadline=NOW)
    assert act(spec(), view(there), drain=late).action == CancelDrain(Reason.DATA_MISSING)


def test_a_load_that_comes_back_cancels_the_drain() -> None:
    """More than the remaining pods shall carry gives the drained ones back."""
    there = pods(120, 120, 10, 0)
    assert act(spec(), view(there), drain=drain_of(there[3:], 4)).action == CancelDrain(Reason.LOAD_RETURNED)


def test_a_minimum_that_rises_cancels_the_drain() -> None:
    """A schedule that begins during a drain is a reason like load."""
    there = pods(1, 1, 1, 0)
    action = act(spec(), view(there, minimum=4), drain=drain_of(there[3:], 4)).action
    assert action == CancelDrain(Reason.LOAD_RETURNED)


def test_replicas_changed_by_somebody_cancel_the_drain() -> None:
    """Somebody else has scaled: the operator starts over from their number."""
    there = pods(1, 1, 1, 0)
    action = act(spec(), view(there, replicas=6), drain=drain_of(there[3:], 4)).action
    assert action == CancelDrain(Reason.REPLICAS_CHANGED)


def test_a_pod_that_vanished_cancels_the_drain() -> None:
    """Its replacement would be removed in its stead, or a pod with clients would."""
    there = pods(1, 1, 1, 0)
    gone = drain_of((Pod("z", "uid-z", ready=False, connections=0),), 4)
    assert act(spec(), view(there), drain=gone).action == CancelDrain(Reason.POD_VANISHED)


def test_a_pending_pod_cancels_the_drain() -> None:
    """The ReplicaSet would remove the pod without a node and leave the drained one standing."""
    there = (*pods(1, 1, 0), Pod("y", "y", ready=False, connections=0, pending=True))
    assert act(spec(), view(there), drain=drain_of(there[2:3], 4)).action == CancelDrain(Reason.POD_PENDING)


def test_a_drain_is_forgotten_once_its_pods_are_gone() -> None:
    """Lowered replicas are not lowered again, also by an operator that was started in between."""
    there = pods(9, 9, 9, 0)
    drain = drain_of(there[3:], 4)
    assert act(spec(), view(there, replicas=3), drain=drain).action == Hold(Reason.DRAINING)
    assert act(spec(), view(there[:3]), drain=drain).action == FinishDrain(Reason.DRAINED)


def test_a_drained_pod_that_was_spared_is_forgotten_too() -> None:
    """When the ReplicaSet took another pod, the drain is over and its pod will be given back."""
    there = pods(9, 9, 9, 0)
    drain = drain_of(there[3:], 4)
    assert act(spec(), view(there[1:]), drain=drain).action == FinishDrain(Reason.DRAINED)


RULES = RebalanceRules(threshold_percent=20, min_connections=10, connections_per_second=5)


def test_a_full_pod_sheds_what_is_above_the_mean() -> None:
    """The surplus over the mean is shed, as far as ten seconds of the rate go."""
    rules = spec(rebalance=RULES, max_replicas=5, target_connections=1000)
    fullest, *_ = there = pods(150, 90, 90, 90, 90)
    action = act(rules, view(there, minimum=5)).action
    assert action == Rebalance(((fullest, 48),), Reason.IMBALANCE)
    fuller, *_ = there = pods(550, 90, 90, 90, 90)
    assert act(rules, view(there, minimum=5)).action == Rebalance(((fuller, 50),), Reason.IMBALANCE)


def test_shedding_keeps_its_rate() -> None:
    """Fifty connections at five a second are paid for after ten seconds."""
    rules = spec(rebalance=RULES, max_replicas=5, target_connections=1000)
    known = view(pods(550, 90, 90, 90, 90), minimum=5)
    assert act(rules, known, shed=Shed(NOW - 14, 50)).action == Hold(Reason.REBALANCING)
    assert isinstance(act(rules, known, shed=Shed(NOW - 15, 50)).action, Rebalance)


def test_shedding_waits_until_all_are_ready() -> None:
    """A pod that starts or still sheds is awaited: what is closed has nowhere better to go."""
    rules = spec(rebalance=RULES, max_replicas=5, target_connections=1000)
    there = (*pods(550, 90, 90, 90), Pod("n", "n", ready=False, connections=0))
    assert act(rules, view(there, minimum=5)).action == Hold(Reason.SETTLING)


def test_few_above_the_mean_is_fine() -> None:
    """A small surplus moves nobody, nor does one within the threshold, nor a single pod."""
    rules = spec(rebalance=RULES, max_replicas=5, target_connections=1000)
    for there in (pods(14, 5, 5, 5, 5), pods(115, 100, 100, 100, 100)):
        assert act(rules, view(there, minimum=5)).action == Hold(Reason.STEADY)
    alone = spec(rebalance=RULES, headroom_replicas=0, target_connections=1000)
    assert act(alone, view(pods(900))).action == Hold(Reason.STEADY)


def test_shedding_respects_disruption_budgets() -> None:
    """Pods are unready while they shed, which a budget may forbid."""
    rules = spec(rebalance=RULES, max_replicas=5, target_connections=1000)
    known = view(pods(550, 90, 90, 90, 90), minimum=5, disruptions_allowed=0)
    assert act(rules, known).action == Hold(Reason.DISRUPTION_BUDGET)
