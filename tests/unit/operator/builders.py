"""Short ways to write what the decision is given."""

from __future__ import annotations

from typing import Any

from parley_operator.core import Decision, Drain, Pod, Shed, View, decide
from parley_operator.demand import History
from parley_operator.spec import Rebalance, ScaleDown, ScaleUp, Spec

NOW = 1_800_000_000.0


def spec(**changes: Any) -> Spec:
    """Make a spec: 100 connections a pod, one pod of head-room, no windows, no tolerance."""
    fields: dict[str, Any] = {
        "deployment": "gateway",
        "min_replicas": 1,
        "max_replicas": 20,
        "target_connections": 100,
        "headroom_replicas": 1,
        "scale_up": ScaleUp(),
        "scale_down": ScaleDown(stabilization_window_seconds=0, tolerance_percent=0),
        "rebalance": Rebalance(enabled=False),
    }
    return Spec(**(fields | changes))


def pods(*connections: int | None) -> tuple[Pod, ...]:
    """Make ready pods a, b, c, ... with these connections."""
    return tuple(
        Pod(chr(97 + i), f"uid-{chr(97 + i)}", ready=True, connections=c) for i, c in enumerate(connections)
    )


def view(pods: tuple[Pod, ...], **changes: Any) -> View:
    """Make a view of settled pods."""
    fields: dict[str, Any] = {"now": NOW, "replicas": len(pods), "pods": pods, "minimum": 1}
    return View(**(fields | changes))


def drain_of(chosen: tuple[Pod, ...], from_replicas: int, **changes: Any) -> Drain:
    """Make a drain that began ten seconds ago and has a minute left."""
    fields: dict[str, Any] = {
        "pods": chosen,
        "from_replicas": from_replicas,
        "to_replicas": from_replicas - len(chosen),
        "start": NOW - 10,
        "deadline": NOW + 60,
    }
    return Drain(**(fields | changes))


def act(
    rules: Spec,
    known: View,
    *,
    drain: Drain | None = None,
    shed: Shed | None = None,
    history: History | None = None,
) -> Decision:
    """Decide with what is given."""
    return decide(rules, known, history or History(), drain, shed)
