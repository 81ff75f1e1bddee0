"""What an object's status says: from a look and a decision to fields, conditions and their reasons. Pure."""

from __future__ import annotations

import datetime as dt
from typing import Final, Literal

import msgspec

from parley_operator import core
from parley_operator.core import Decision, Hold, Reason, ScaleUp
from parley_operator.observe import Seen
from parley_operator.spec import Condition, DrainingPod, DrainStatus, ParleyGateway, ShedStatus, Status

NOT_READY: Final[dict[Reason, str]] = {
    Reason.PAUSED: "The object is paused.",
    Reason.SCALED_TO_ZERO: "The Deployment was scaled to zero; scale it up to hand it over.",
    Reason.REPLICAS_MANAGED_ELSEWHERE: "The replicas are managed by {manager}.",
    Reason.ROLLOUT_IN_PROGRESS: "The Deployment is rolling out.",
    Reason.DATA_MISSING: "Nothing is removed or moved: {missing}.",
}
"""The reasons for which the operator does not (fully) do its work, and what they mean."""

DEPLOYMENT_MISSING: Final = "DeploymentMissing"
INVALID_SCHEDULE: Final = "InvalidSchedule"


def timestamp(seconds: float) -> str:
    """Write a moment as RFC 3339 in UTC, to the microsecond: pacing must survive the way there and back."""
    return (
        dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    )


def seconds(text: str) -> float:
    """Read such a moment."""
    return dt.datetime.fromisoformat(text).timestamp()


def drain_of(status: Status) -> core.Drain | None:
    """Read the drain under way out of a status."""
    if (drain := status.drain) is None:
        return None
    return core.Drain(
        pods=tuple(core.Pod(pod.name, pod.uid, ready=False, connections=None) for pod in drain.pods),
        from_replicas=drain.from_replicas,
        to_replicas=drain.to_replicas,
        start=seconds(drain.start_time),
        deadline=seconds(drain.deadline),
    )


def shed_of(status: Status) -> core.Shed | None:
    """Read the last rebalancing step out of a status."""
    if (shed := status.last_rebalance) is None:
        return None
    return core.Shed(seconds(shed.time), shed.connections)


def drain_status(drain: core.Drain) -> DrainStatus:
    """Write a drain into a status."""
    return DrainStatus(
        pods=tuple(DrainingPod(name=pod.name, uid=pod.uid) for pod in drain.pods),
        from_replicas=drain.from_replicas,
        to_replicas=drain.to_replicas,
        start_time=timestamp(drain.start),
        deadline=timestamp(drain.deadline),
    )


def of_decision(
    gateway: ParleyGateway, seen: Seen, decision: Decision, drain: core.Drain | None, shed: core.Shed | None
) -> Status:
    """Make the status after a decision.

    Args:
        gateway: The object as it was read.
        seen: What was seen.
        decision: What was decided.
        drain: The drain that is under way from now on.
        shed: The newest rebalancing step.
    """
    action = decision.action
    reason = action.reason
    message = NOT_READY.get(reason, f"{seen.ready} of {seen.view.replicas} gateways take clients.").format(
        manager=seen.view.other_manager, missing="; ".join(seen.missing)
    )
    found = [
        ("Ready", reason not in NOT_READY, reason.value, message),
        ("MetricsAvailable", not seen.missing, *_metrics(seen)),
        ("ScalingLimited", *_limited(decision)),
        ("Draining", drain is not None, *_draining(gateway, seen, decision, drain)),
    ]
    return msgspec.structs.replace(
        gateway.status,
        observed_generation=gateway.metadata.generation,
        replicas=seen.deployment.status.replicas,
        ready_replicas=seen.ready,
        desired_replicas=decision.desired,
        connections=seen.view.demand,
        selector=seen.deployment.spec.selector.text(),
        drain=None if drain is None else drain_status(drain),
        last_rebalance=None
        if shed is None
        else ShedStatus(time=timestamp(shed.at), connections=shed.connections),
        conditions=tuple(_condition(gateway, seen.view.now, row) for row in found),
    )


def of_problem(gateway: ParleyGateway, now: float, reason: str, message: str) -> Status:
    """Make the status of an object that cannot be looked after: Ready is false, the rest is unknown."""
    rest = ("MetricsAvailable", "ScalingLimited", "Draining")
    found: list[tuple[str, bool | None, str, str]] = [("Ready", False, reason, message)]
    found += [(kind, None, reason, message) for kind in rest]
    return msgspec.structs.replace(
        gateway.status,
        observed_generation=gateway.metadata.generation,
        conditions=tuple(_condition(gateway, now, row) for row in found),
    )


def _metrics(seen: Seen) -> tuple[str, str]:
    if not seen.missing:
        return "AllAnswered", "All gateways and the store have answered."
    reason = "GatewaysMissing" if seen.view.store_answered else "StoreMissing"
    return reason, "; ".join(seen.missing)


def _limited(decision: Decision) -> tuple[bool, str, str]:
    action, desired = decision.action, decision.desired
    if action == Hold(Reason.DISRUPTION_BUDGET):
        return True, "DisruptionBudget", "A PodDisruptionBudget lets no pod go now."
    if decision.unlimited > desired:
        return True, "AtMaximum", f"{decision.unlimited} replicas are asked for; the most is {desired}."
    if decision.unlimited < desired:
        return True, "AtMinimum", f"{decision.unlimited} replicas would be enough; the least is {desired}."
    if isinstance(action, ScaleUp) and action.to < desired:
        return True, "StepLimit", f"{desired} replicas are asked for; {action.to} come first."
    return False, "WithinLimits", "The replicas follow the load."


def _draining(
    gateway: ParleyGateway, seen: Seen, decision: Decision, drain: core.Drain | None
) -> tuple[str, str]:
    if drain is not None:
        names = ", ".join(pod.name for pod in drain.pods)
        left = sum(
            state.connections
            for uid, state in seen.draining.items()
            if uid in {pod.uid for pod in drain.pods}
        )
        return "Draining", f"{names}: {left} connections left."
    if isinstance(decision.action, core.CancelDrain):
        return decision.action.reason.value, "The drain was cancelled and its pods take clients again."
    if isinstance(decision.action, core.FinishDrain):
        return Reason.DRAINED.value, "The drained pods are gone."
    # Why the last drain ended stays to be read until the next one.
    last = _before(gateway.status, "Draining")
    if last is not None and last.status == "False":
        return last.reason, last.message
    return "NotDraining", "No pod is being drained."


def _condition(gateway: ParleyGateway, now: float, row: tuple[str, bool | None, str, str]) -> Condition:
    kind, holds, reason, message = row
    words: dict[bool | None, Literal["True", "False", "Unknown"]] = {True: "True", False: "False"}
    status = words.get(holds, "Unknown")
    before = _before(gateway.status, kind)
    since = before.last_transition_time if before and before.status == status else timestamp(now)
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=since,
        observed_generation=gateway.metadata.generation,
    )


def _before(status: Status, kind: str) -> Condition | None:
    return next((condition for condition in status.conditions if condition.type == kind), None)


def turned(before: Status, after: Status) -> Condition | None:
    """Find out whether Ready has turned, which people should be told; None when it has not."""
    old, new = _before(before, "Ready"), _before(after, "Ready")
    if new is None or (old is None and new.status == "True"):
        return None
    return new if old is None or old.status != new.status else None
