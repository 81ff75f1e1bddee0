"""The operator's metrics. Labels name the object (there are few) or a closed set."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

DIRECTIONS: Final = ("up", "down")
DRAIN_RESULTS: Final = ("emptied", "deadline", "cancelled")
LOOK_RESULTS: Final = ("done", "conflict", "failed")

_OBJECT: Final = ("namespace", "name")
_DRAIN_SECONDS: Final = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)


class Metrics:
    """All metrics of one operator, in a registry of their own (so that tests can run several)."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.desired = Gauge(
            "parley_operator_desired_replicas",
            "Replicas that are asked for, within the limits.",
            _OBJECT,
            registry=registry,
        )
        self.current = Gauge(
            "parley_operator_current_replicas", "Replicas of the Deployment.", _OBJECT, registry=registry
        )
        self.connections = Gauge(
            "parley_operator_connections",
            "Connections of all gateways that answered.",
            _OBJECT,
            registry=registry,
        )
        self.ready = Gauge(
            "parley_operator_ready",
            "Whether the object's condition Ready is true.",
            _OBJECT,
            registry=registry,
        )
        self.unanswered = Gauge(
            "parley_operator_unanswered", "Gateways and stores without an answer.", _OBJECT, registry=registry
        )
        self.scale_events = Counter(
            "parley_operator_scale_events", "Changes of the replicas.", ["direction"], registry=registry
        )
        self.drains = Counter(
            "parley_operator_drains", "Drains that ended, by how.", ["result"], registry=registry
        )
        self.drain_seconds = Histogram(
            "parley_operator_drain_seconds",
            "From the first request of a drain to the lowered replicas.",
            registry=registry,
            buckets=_DRAIN_SECONDS,
        )
        self.shed_connections = Counter(
            "parley_operator_shed_connections", "Connections moved to even out the pods.", registry=registry
        )
        self.looks = Counter(
            "parley_operator_looks", "Times an object was looked after.", ["result"], registry=registry
        )
        self.leader = Gauge("parley_operator_leader", "Whether this process may act.", registry=registry)
        # Series that exist from the start let an alert tell "never" from "no data".
        for direction in DIRECTIONS:
            self.scale_events.labels(direction)
        for result in DRAIN_RESULTS:
            self.drains.labels(result)
        for result in LOOK_RESULTS:
            self.looks.labels(result)

    def forget(self, namespace: str, name: str) -> None:
        """Drop the series of an object that is gone."""
        for gauge in (self.desired, self.current, self.connections, self.ready, self.unanswered):
            gauge.remove(namespace, name)
