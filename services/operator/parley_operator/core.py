"""The decision: what is known, what is wanted and what was done before -> one action. Pure, without I/O.

Rules that hold whatever the input (the property tests prove them):

- the number of replicas stays between the limits, or moves towards them;
- nothing is removed or moved on incomplete data; an answer that is missing is never taken for zero;
- a drain takes at most ``step_percent`` of the replicas (but always one), and only its own pods;
- while a rollout, a pause or another manager of the replicas is seen, nothing is done but to give back
  the pods of a drain, and not those that are leaving already;
- growing needs only what is known for sure: the known connections alone ask for it.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import Final

from parley_operator.demand import History, Limits, enough, needed
from parley_operator.spec import Spec
from parley_shared.api import SHED_NOTICE_SECONDS

SHED_BURST_SECONDS: Final = 10.0
"""One rebalancing step sheds what its rate allows in this time, so its pods are soon ready again."""


class Reason(enum.StrEnum):
    """Why the operator acts or holds: the reasons in conditions, events and the last scale."""

    STEADY = "Steady"
    PAUSED = "Paused"
    SCALED_TO_ZERO = "ScaledToZero"
    REPLICAS_MANAGED_ELSEWHERE = "ReplicasManagedElsewhere"
    ROLLOUT_IN_PROGRESS = "RolloutInProgress"
    DATA_MISSING = "DataMissing"
    STABILIZING = "Stabilizing"
    SETTLING = "Settling"
    DISRUPTION_BUDGET = "DisruptionBudget"
    DRAINING = "Draining"
    LOAD = "Load"
    LIMITS = "Limits"
    PINNED = "Pinned"
    DRAINED = "Drained"
    DRAIN_TIMEOUT = "DrainTimeout"
    LOAD_RETURNED = "LoadReturned"
    REPLICAS_CHANGED = "ReplicasChanged"
    POD_VANISHED = "PodVanished"
    POD_PENDING = "PodPending"
    IMBALANCE = "Imbalance"
    REBALANCING = "Rebalancing"


@dataclasses.dataclass(frozen=True, slots=True)
class Pod:
    """A gateway pod that is not terminating.

    ``pending`` is one that no node runs yet. ``connections`` is None when it should have answered and did
    not; a pod that is not ready and holds no lease has none, which is known.
    """

    name: str
    uid: str
    ready: bool
    connections: int | None
    pending: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Drain:
    """A drain under way: its pods by uid, and the replicas before and after it. Times in seconds."""

    pods: tuple[Pod, ...]
    from_replicas: int
    to_replicas: int
    start: float
    deadline: float


@dataclasses.dataclass(frozen=True, slots=True)
class Shed:
    """The last rebalancing step: when (seconds), and how many connections."""

    at: float
    connections: int


@dataclasses.dataclass(frozen=True, slots=True)
class View:
    """What is known at a moment.

    Attributes:
        now: Seconds since the Unix epoch.
        replicas: What the Deployment asks for.
        pods: Its pods that are not terminating.
        minimum: The minimum that holds now, with the schedule.
        rollout: Whether pods of an older template exist or the controller lags behind the Deployment.
        other_manager: Who else manages the replicas, if anybody.
        store_answered: Whether the leases are known.
        orphaned: Connections of gateways that hold a lease and have no pod any more: they come back.
        disruptions_allowed: Pods that the disruption budgets let go now; None without a budget.
    """

    now: float
    replicas: int
    pods: tuple[Pod, ...]
    minimum: int
    rollout: bool = False
    other_manager: str | None = None
    store_answered: bool = True
    orphaned: int = 0
    disruptions_allowed: int | None = None

    @property
    def complete(self) -> bool:
        """Whether every answer is there."""
        return self.store_answered and all(pod.connections is not None for pod in self.pods)

    @property
    def demand(self) -> int:
        """The connections that are known for sure: the ground for growing."""
        return sum(pod.connections or 0 for pod in self.pods)

    @property
    def expected(self) -> int:
        """The same and those that may come back: the ground for shrinking.

        A lease outlives its gateway by up to 15 s, and its clients may be counted elsewhere by then; so
        this errs to the greater side, and growing does not use it.
        """
        return self.demand + self.orphaned


@dataclasses.dataclass(frozen=True, slots=True)
class Hold:
    """Do nothing, for a reason."""

    reason: Reason


@dataclasses.dataclass(frozen=True, slots=True)
class ScaleUp:
    """Set the replicas to ``to``."""

    to: int
    reason: Reason


@dataclasses.dataclass(frozen=True, slots=True)
class StartDrain:
    """Empty the pods of ``drain``."""

    drain: Drain
    reason: Reason


@dataclasses.dataclass(frozen=True, slots=True)
class CancelDrain:
    """Give the drain's pods back to service."""

    reason: Reason


@dataclasses.dataclass(frozen=True, slots=True)
class Remove:
    """The drain's pods are empty, or late: set the replicas to ``to``."""

    to: int
    reason: Reason


@dataclasses.dataclass(frozen=True, slots=True)
class FinishDrain:
    """The replicas are lowered and the pods are gone: forget the drain, also while nothing else is done."""

    reason: Reason


@dataclasses.dataclass(frozen=True, slots=True)
class Rebalance:
    """Have each pod close a number of connections."""

    counts: tuple[tuple[Pod, int], ...]
    reason: Reason


Action = Hold | ScaleUp | StartDrain | CancelDrain | Remove | FinishDrain | Rebalance


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """An action, the replicas that the load asks for, the same before limits, and the new history."""

    action: Action
    desired: int
    unlimited: int
    history: History


def decide(spec: Spec, view: View, history: History, drain: Drain | None, shed: Shed | None) -> Decision:
    """Decide what to do now.

    Args:
        spec: What is wanted.
        view: What is known.
        history: What earlier calls returned; `History()` at first.
        drain: The drain under way.
        shed: The last rebalancing step.
    """
    limits = Limits(view.minimum, spec.max_replicas)
    windows = (spec.scale_up.stabilization_window_seconds, spec.scale_down.stabilization_window_seconds)
    if view.complete:
        history = history.add(view.now, view.expected, max(windows))
    unlimited = _wanted(spec, view, history)
    desired = limits.clamp(unlimited)
    action = _interlock(spec, view, drain)
    if action is None and drain is not None:
        action = _continue(view, drain, limits.clamp(_least_wanted(spec, view.demand)))
    if action is None:
        action = _free(spec, view, history, desired, shed)
    return Decision(action, desired, unlimited, history)


def _least_wanted(spec: Spec, demand: int) -> int:
    return needed(spec, demand) if spec.replicas is None else spec.replicas


def _wanted(spec: Spec, view: View, history: History) -> int:
    """Say how many replicas are asked for, before the limits."""
    if spec.replicas is not None:
        return spec.replicas
    demand = view.demand
    if window := spec.scale_up.stabilization_window_seconds:
        # With a window, growing waits until all of it was observed and asked for more.
        demand = min(demand, history.least(view.now, window))
    if (up := needed(spec, demand)) >= view.replicas:
        return up
    # Between the two thresholds the present number is right.
    window = spec.scale_down.stabilization_window_seconds
    return min(view.replicas, enough(spec, max(view.expected, history.most(view.now, window))))


def _interlock(spec: Spec, view: View, drain: Drain | None) -> Action | None:
    """What forbids to act at all; a drain is then given back, unless its pods are leaving."""
    reason = None
    if spec.paused:
        reason = Reason.PAUSED
    elif view.replicas == 0:
        reason = Reason.SCALED_TO_ZERO
    elif view.other_manager is not None:
        reason = Reason.REPLICAS_MANAGED_ELSEWHERE
    elif view.rollout:
        reason = Reason.ROLLOUT_IN_PROGRESS
    if reason is None:
        return None
    if drain is None:
        return Hold(reason)
    if view.replicas != drain.to_replicas:
        return CancelDrain(reason)
    # Whoever took the low cost from an empty pod now would have the ReplicaSet remove a full one in its
    # stead. The operator's own removal looks like a rollout until it is observed: it is not over before.
    return Hold(reason) if view.rollout or not _removed(view, drain) else FinishDrain(reason)


def _continue(view: View, drain: Drain, least: int) -> Action:
    """Bring a drain to its end, or cancel it; ``least`` is what the load and the limits need now."""
    leaving = {pod.uid for pod in drain.pods}
    present = [pod for pod in view.pods if pod.uid in leaving]
    if view.replicas == drain.to_replicas:
        return FinishDrain(Reason.DRAINED) if _removed(view, drain) else Hold(Reason.DRAINING)
    if view.replicas != drain.from_replicas:
        return CancelDrain(Reason.REPLICAS_CHANGED)
    if least > drain.to_replicas:
        return CancelDrain(Reason.LOAD_RETURNED)
    if len(present) < len(drain.pods):
        # Its replacement is new and empty: that one goes first in the next drain.
        return CancelDrain(Reason.POD_VANISHED)
    if not view.complete:
        # Neither removed nor kept out of service for ever: at the deadline the pods are given back.
        late = view.now >= drain.deadline
        return CancelDrain(Reason.DATA_MISSING) if late else Hold(Reason.DATA_MISSING)
    if any(pod.pending for pod in view.pods if pod.uid not in leaving) and not all(
        pod.pending for pod in present
    ):
        # A ReplicaSet removes pods without a node before any other, whatever their cost.
        return CancelDrain(Reason.POD_PENDING)
    if all(pod.connections == 0 for pod in present):
        return Remove(drain.to_replicas, Reason.DRAINED)
    if view.now >= drain.deadline:
        return Remove(drain.to_replicas, Reason.DRAIN_TIMEOUT)
    return Hold(Reason.DRAINING)


def _removed(view: View, drain: Drain) -> bool:
    """Whether lowered replicas have taken effect.

    The ReplicaSet may have chosen otherwise (the deletion cost is a wish): then a pod of the drain stays,
    which is given back when the drain is forgotten.
    """
    leaving = {pod.uid for pod in drain.pods}
    return len(view.pods) <= drain.to_replicas or not any(pod.uid in leaving for pod in view.pods)


def _free(spec: Spec, view: View, history: History, desired: int, shed: Shed | None) -> Action:
    """Decide without a drain under way: grow, begin to shrink, even out, or hold."""
    if desired > view.replicas:
        to = min(desired, view.replicas + spec.scale_up.step_replicas)
        return ScaleUp(to, _scale_reason(spec, view, desired))
    if not view.complete:
        return Hold(Reason.DATA_MISSING)
    if len(view.pods) != view.replicas:
        return Hold(Reason.SETTLING)
    if desired < view.replicas:
        window = spec.scale_down.stabilization_window_seconds
        if spec.replicas is None and not history.covers(view.now, window):
            return Hold(Reason.STABILIZING)
        return _start_drain(spec, view, desired)
    return _rebalance(spec, view, shed)


def _scale_reason(spec: Spec, view: View, desired: int) -> Reason:
    if spec.replicas is not None:
        return Reason.PINNED
    return Reason.LIMITS if desired in {view.minimum, spec.max_replicas} else Reason.LOAD


def _start_drain(spec: Spec, view: View, desired: int) -> Action:
    """Choose the pods that leave: first what does not serve, then the least loaded."""
    step = max(1, view.replicas * spec.scale_down.step_percent // 100)
    order = sorted(view.pods, key=lambda pod: (not pod.pending, pod.ready, pod.connections or 0, pod.name))
    chosen: list[Pod] = []
    # Draining makes a pod unready, which the disruption budgets count like any other disruption.
    budget = math.inf if view.disruptions_allowed is None else view.disruptions_allowed
    for pod in order[: min(step, view.replicas - desired)]:
        if pod.ready:
            if budget < 1:
                break
            budget -= 1
        chosen.append(pod)
    if not chosen:
        return Hold(Reason.DISRUPTION_BUDGET)
    drain = Drain(
        tuple(chosen),
        view.replicas,
        view.replicas - len(chosen),
        view.now,
        view.now + spec.drain_timeout_seconds,
    )
    return StartDrain(drain, _scale_reason(spec, view, desired))


def _rebalance(spec: Spec, view: View, shed: Shed | None) -> Action:
    """Have the pods that hold far more than the mean close their surplus, the fullest first."""
    rules = spec.rebalance
    if not rules.enabled or len(view.pods) < 2:
        return Hold(Reason.STEADY)
    if not all(pod.ready for pod in view.pods):
        # Some pod starts, or still sheds: what it closes has nowhere better to go yet.
        return Hold(Reason.SETTLING)
    held = [(pod, pod.connections or 0) for pod in view.pods]
    mean = sum(count for _, count in held) / len(held)
    threshold = mean * (1 + rules.threshold_percent / 100)
    surplus = [
        (pod, count - math.ceil(mean))
        for pod, count in sorted(held, key=lambda item: (-item[1], item[0].name))
        if count > threshold and count - mean >= rules.min_connections
    ]
    if not surplus:
        return Hold(Reason.STEADY)
    # Until a step is done its pods still hold what they are about to close.
    if shed is not None and view.now < (
        shed.at + SHED_NOTICE_SECONDS + shed.connections / rules.connections_per_second
    ):
        return Hold(Reason.REBALANCING)
    # Shedding pods are unready: most must stay ready, to take what is shed, and the budgets hold here too.
    pods = max(1, len(held) // 4)
    if view.disruptions_allowed is not None:
        pods = min(pods, view.disruptions_allowed)
    if pods < 1:
        return Hold(Reason.DISRUPTION_BUDGET)
    left = max(1, int(rules.connections_per_second * SHED_BURST_SECONDS))
    counts: list[tuple[Pod, int]] = []
    for pod, count in surplus[:pods]:
        if left > 0:
            counts.append((pod, min(count, left)))
            left -= counts[-1][1]
    return Rebalance(tuple(counts), Reason.IMBALANCE)
