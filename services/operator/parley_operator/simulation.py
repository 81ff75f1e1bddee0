"""A day of a cluster in a second: the real decision against a model of pods and clients.

``python -m parley_operator.simulation`` prints, for each load curve, what `parley_operator.core` does and
what the formula of the HorizontalPodAutoscaler does with the same target (connections per pod as a custom
metric, tolerance 0.1, scale-down stabilisation 300 s, at most doubling every 15 s, as its defaults are).

The model: a pod is ready 20 s after it was asked for. Clients stay 30 minutes on average, and new ones are
spread evenly over the ready pods. Whoever loses a pod, by a drain, a shed or its removal, comes back one
tick later. The HPA removes any pod, with all who are on it, at once.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import sys
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from parley_operator import core, demand
from parley_operator.spec import Spec

TICK_SECONDS: Final = 10
DAY_TICKS: Final = 86_400 // TICK_SECONDS
STARTUP_SECONDS: Final = 20
STAY_SECONDS: Final = 1800
DRAIN_TICKS: Final = 2
"""A gateway empties itself across DRAIN_SECONDS, by default 20."""

Curve = Callable[[float, random.Random], float]
"""Connections wanted at an hour of the day (0 to 24)."""


def office(hour: float, chance: random.Random) -> float:
    """Two working-day humps with a dip at noon, quiet nights, 1 % noise."""
    morning = math.exp(-(((hour - 10.5) / 1.9) ** 2))
    afternoon = math.exp(-(((hour - 15.0) / 2.2) ** 2))
    return (1500 + 38_000 * max(morning, afternoon)) * chance.gauss(1, 0.01)


def evening(hour: float, chance: random.Random) -> float:
    """A consumer service: lowest at five, highest at nine in the evening, 2 % noise."""
    return (20_000 + 17_000 * math.sin((hour - 14.8) / 24 * 2 * math.pi)) * chance.gauss(1, 0.02)


def flash(hour: float, chance: random.Random) -> float:
    """Quiet, then five times as many within two minutes for an hour, at noon."""
    rise = min(1.0, max(0.0, (hour - 12) * 30)) if hour < 13 else max(0.0, 1 - (hour - 13) * 6)
    return (8000 + 32_000 * rise) * chance.gauss(1, 0.01)


def border(_hour: float, chance: random.Random) -> float:
    """All day at the edge between two numbers of pods, with noise: what makes autoscalers flap."""
    return 20_000 * chance.gauss(1, 0.012)


def outage(hour: float, chance: random.Random) -> float:
    """An even load of which two thirds lose their network for four minutes, three times a day."""
    away = any(at <= hour < at + 4 / 60 for at in (6, 12, 18))
    return 24_000 * (0.33 if away else 1) * chance.gauss(1, 0.005)


CURVES: Final[dict[str, Curve]] = {
    "office day": office,
    "evening peak": evening,
    "flash crowd": flash,
    "at the border": border,
    "client outages": outage,
}


@dataclasses.dataclass(slots=True)
class SimulatedPod:
    """One pod of the model."""

    name: str
    ready_at: float
    connections: int = 0
    drained: bool = False


@dataclasses.dataclass(slots=True)
class Result:
    """What a day was like. Forced reconnects are connections that the scaling itself has closed."""

    connections: list[int] = dataclasses.field(default_factory=list)
    replicas: list[int] = dataclasses.field(default_factory=list)
    ups: int = 0
    downs: int = 0
    forced_at_once: int = 0
    forced_paced: int = 0
    overloaded_seconds: int = 0

    @property
    def reversals(self) -> int:
        """How often shrinking turned into growing, or growing into shrinking."""
        steps = [after - before for before, after in itertools.pairwise(self.replicas) if after != before]
        return sum(one * two < 0 for one, two in itertools.pairwise(steps))

    @property
    def pod_hours(self) -> float:
        """What the day has cost."""
        return sum(self.replicas) * TICK_SECONDS / 3600


class Cluster:
    """The model of a cluster that both scalers act on."""

    def __init__(self, spec: Spec, chance: random.Random) -> None:
        self.spec = spec
        self.now = 0.0
        self.pods: list[SimulatedPod] = []
        self.coming_back = 0
        self._made = 0
        self._chance = chance

    def set_replicas(self, count: int, victims: tuple[str, ...] = ()) -> int:
        """Add pods, or remove them: the named ones, else the newest; returns the connections cut off."""
        while len(self.pods) < count:
            self._made += 1
            self.pods.append(SimulatedPod(f"pod-{self._made}", self.now + STARTUP_SECONDS))
        cut = 0
        for _ in range(len(self.pods) - count):
            # A ReplicaSet removes what is not ready first, then by cost, then at random among the old.
            index = next((i for i, pod in enumerate(self.pods) if pod.name in victims), None)
            if index is None:
                index = next((i for i, pod in enumerate(self.pods) if not self.ready(pod)), None)
            pod = self.pods.pop(self._chance.randrange(len(self.pods)) if index is None else index)
            cut += pod.connections
        self.coming_back += cut
        return cut

    def ready(self, pod: SimulatedPod) -> bool:
        """Whether a pod takes new clients."""
        return self.now >= pod.ready_at and not pod.drained

    def close(self, pod: SimulatedPod, count: int) -> int:
        """Close connections of a pod; their clients come back at the next tick."""
        count = min(count, pod.connections)
        pod.connections -= count
        self.coming_back += count
        return count

    def tick(self, wanted: int) -> None:
        """Let clients go, come and come back until ``wanted`` are connected."""
        self.now += TICK_SECONDS
        for pod in self.pods:
            leaving = pod.connections * TICK_SECONDS / STAY_SECONDS
            pod.connections -= int(leaving) + (self._chance.random() < leaving % 1)
        self.coming_back = 0
        total = sum(pod.connections for pod in self.pods)
        open_pods = [pod for pod in self.pods if self.ready(pod)]
        if total > wanted:
            for pod in self.pods:
                pod.connections -= pod.connections * (total - wanted) // total
        elif open_pods:
            each, rest = divmod(wanted - total, len(open_pods))
            for index, pod in enumerate(self._chance.sample(open_pods, len(open_pods))):
                pod.connections += each + (index < rest)


def run_operator(spec: Spec, loads: list[int], chance: random.Random) -> Result:
    """Run `core.decide` over a day."""
    cluster, result = _start(spec, loads[0], chance), Result()
    history, drain, shed = demand.History(), None, None
    for wanted in loads:
        cluster.tick(wanted)
        result.connections.append(wanted)
        result.overloaded_seconds += _overloaded(cluster)
        known = tuple(
            core.Pod(pod.name, pod.name, cluster.ready(pod), pod.connections) for pod in cluster.pods
        )
        view = core.View(cluster.now, len(cluster.pods), known, spec.min_replicas)
        decision = core.decide(spec, view, history, drain, shed)
        history = decision.history
        match decision.action:
            case core.ScaleUp(to=to):
                cluster.set_replicas(to)
                result.ups += 1
            case core.StartDrain(drain=started):
                drain = started
            case core.CancelDrain():
                drain = None
            case core.Remove(to=to):
                victims = tuple(pod.name for pod in drain.pods) if drain else ()
                result.forced_at_once += cluster.set_replicas(to, victims)
                result.downs += 1
            case core.FinishDrain():
                drain = None
            case core.Rebalance(counts=counts):
                shed = core.Shed(cluster.now, sum(count for _, count in counts))
                for pod, count in counts:
                    target = next(item for item in cluster.pods if item.name == pod.name)
                    result.forced_paced += cluster.close(target, count)
            case core.Hold():
                pass
        _drain(cluster, drain, result)
        result.replicas.append(len(cluster.pods))
    return result


def _drain(cluster: Cluster, drain: core.Drain | None, result: Result) -> None:
    leaving = {pod.name for pod in drain.pods} if drain else set()
    for pod in cluster.pods:
        pod.drained = pod.name in leaving
        if pod.drained and drain:
            ticks = max(1, DRAIN_TICKS - int(cluster.now - drain.start) // TICK_SECONDS)
            result.forced_paced += cluster.close(pod, math.ceil(pod.connections / ticks))


def run_hpa(spec: Spec, loads: list[int], chance: random.Random) -> Result:
    """Run the formula of the HorizontalPodAutoscaler over the same day, with its default behaviour."""
    cluster, result = _start(spec, loads[0], chance), Result()
    recommended: list[int] = []
    for wanted in loads:
        cluster.tick(wanted)
        result.connections.append(wanted)
        result.overloaded_seconds += _overloaded(cluster)
        current = len(cluster.pods)
        ready = [pod for pod in cluster.pods if cluster.ready(pod)]
        ratio = sum(pod.connections for pod in ready) / max(1, len(ready)) / spec.target_connections
        desired = current if abs(ratio - 1) <= 0.1 else math.ceil(ratio * len(ready))
        desired = min(max(desired, spec.min_replicas), spec.max_replicas)
        recommended = [*recommended[-(300 // TICK_SECONDS) + 1 :], desired]
        if desired > current:
            cluster.set_replicas(min(desired, max(current * 2, current + 4)))
            result.ups += 1
        elif (kept := max(recommended)) < current:
            result.forced_at_once += cluster.set_replicas(kept)
            result.downs += 1
        result.replicas.append(len(cluster.pods))
    return result


def _start(spec: Spec, wanted: int, chance: random.Random) -> Cluster:
    """Begin the day with as many pods as its first load needs, all of them ready."""
    cluster = Cluster(spec, chance)
    cluster.set_replicas(min(max(demand.needed(spec, wanted), spec.min_replicas), spec.max_replicas))
    for pod in cluster.pods:
        pod.ready_at = 0
    return cluster


def _overloaded(cluster: Cluster) -> int:
    """Pod-seconds above 110 % of the target."""
    limit = cluster.spec.target_connections * 1.1
    return TICK_SECONDS * sum(pod.connections > limit for pod in cluster.pods)


def loads(curve: Curve, seed: int = 1) -> list[int]:
    """Sample a curve for every tick of a day; the same seed gives the same day."""
    chance = random.Random(seed)
    return [max(0, round(curve(tick * TICK_SECONDS / 3600, chance))) for tick in range(DAY_TICKS)]


SPEC: Final = Spec(
    deployment="gateway", min_replicas=2, max_replicas=20, target_connections=5000, headroom_replicas=1
)
SCALERS: Final[dict[str, tuple[Callable[[Spec, list[int], random.Random], Result], int]]] = {
    "operator": (run_operator, 1),
    "operator, no head-room": (run_operator, 0),
    "HPA's formula": (run_hpa, 0),
}
"""How each row of the table is made: the scaler, and the replicas that may be lost."""


def table(spec: Spec = SPEC) -> Iterator[str]:
    """Make the lines of the table in docs/operator.md."""
    columns = (
        "curve",
        "connections",
        "scaler",
        "replicas",
        "ups",
        "downs",
        "turns",
        "pod-hours",
        "cut at once",
        "moved in batches",
        "pod-seconds above 110 %",
    )
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for name, curve in CURVES.items():
        day = loads(curve)
        for scaler, (run, headroom) in SCALERS.items():
            rules = msgspec.structs.replace(spec, headroom_replicas=headroom)
            result = run(rules, day, random.Random(2))
            cells = (
                name,
                f"{min(day)} to {max(day)}",
                scaler,
                f"{min(result.replicas)} to {max(result.replicas)}",
                result.ups,
                result.downs,
                result.reversals,
                f"{result.pod_hours:.0f}",
                result.forced_at_once,
                result.forced_paced,
                result.overloaded_seconds,
            )
            yield f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    sys.stdout.write("\n".join(table()) + "\n")
