"""One look at a Deployment of gateways: all that the decision needs, read at the same time.

Who does not answer is missing, and only one thing may be concluded from silence: a pod that is not ready
and holds no lease at the store has no connections.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

from parley_operator import core, schedule
from parley_operator.cluster import DRAIN_LABEL, Cluster, Header
from parley_operator.gateways import DrainState, Gateways, NoAnswerError, orphaned
from parley_operator.objects import Autoscaler, Budget, Deployment, PodObject
from parley_operator.spec import ParleyGateway
from parley_shared.api import GatewayInfo

HTTP_PORT = 3000
"""A gateway's public port where its container does not name one `http`: its address in the lease."""


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """What one look has found.

    Attributes:
        deployment: The Deployment.
        pods: Its pods that are not terminating, by uid.
        view: The same for the decision.
        draining: What the pods that are marked or in the drain said of it, by uid.
        missing: Who did not answer, and how; for people.
    """

    deployment: Deployment
    pods: dict[str, PodObject]
    view: core.View
    draining: dict[str, DrainState]
    missing: tuple[str, ...]

    @property
    def ready(self) -> int:
        """How many pods take clients."""
        return sum(pod.ready for pod in self.pods.values())


class Observer:
    """Looks at the Deployment of an object.

    Args:
        cluster: The Kubernetes API.
        gateways: The gateways and the store.
        store_url: The store's URL, with ``{namespace}`` where the object's namespace goes.
        gateway_port: The internal port of pods that do not name it.
    """

    def __init__(self, cluster: Cluster, gateways: Gateways, store_url: str, gateway_port: int) -> None:
        self._cluster = cluster
        self._gateways = gateways
        self._store_url = store_url
        self._gateway_port = gateway_port

    def internal(self, pod: PodObject) -> str | None:
        """Find the address of a pod's internal port."""
        return pod.address("internal", self._gateway_port)

    async def look(self, gateway: ParleyGateway, now: float) -> Seen:
        """Look once.

        Raises:
            NotFoundError: The Deployment does not exist.
            KubeError: The API did not answer.
            ScheduleError: The object's schedule cannot be read.
        """
        namespace = gateway.metadata.namespace
        minimum = schedule.minimum(gateway.spec.min_replicas, gateway.spec.schedule, now)
        deployment = await self._cluster.deployment(namespace, gateway.spec.deployment)
        listed, budgets, autoscalers, objects, leases = await asyncio.gather(
            self._cluster.pods(namespace, deployment.spec.selector.text()),
            self._cluster.budgets(namespace),
            self._cluster.autoscalers(namespace),
            self._cluster.headers(namespace),
            self._leases(namespace),
        )
        pods = {pod.metadata.uid: pod for pod in listed if pod.live}
        drain = gateway.status.drain
        asked = {pod.uid for pod in drain.pods} if drain else set()
        asked |= {uid for uid, pod in pods.items() if DRAIN_LABEL in pod.metadata.labels}
        states: dict[str, DrainState] = {}
        counts = await asyncio.gather(*(self._count(pod, asked, leases, states) for pod in pods.values()))
        missing = tuple(count for count in counts if isinstance(count, str))
        if isinstance(leases, str):
            missing += (leases,)
        known = tuple(
            core.Pod(
                name=pod.metadata.name,
                uid=uid,
                ready=pod.ready,
                connections=count if isinstance(count, int) else None,
                pending=pod.pending,
            )
            for (uid, pod), count in zip(pods.items(), counts, strict=True)
        )
        addresses = {address for pod in pods.values() if (address := pod.address("http", HTTP_PORT))}
        view = core.View(
            now=now,
            replicas=deployment.spec.replicas,
            pods=known,
            minimum=minimum,
            rollout=deployment.rolling_out,
            other_manager=_other_manager(gateway, deployment, autoscalers, objects),
            store_answered=not isinstance(leases, str),
            orphaned=0 if isinstance(leases, str) else orphaned(leases, addresses),
            disruptions_allowed=_allowed(budgets, list(pods.values())),
        )
        return Seen(deployment, pods, view, states, missing)

    async def _leases(self, namespace: str) -> list[GatewayInfo] | str:
        """List the leases; a text says why they are missing."""
        try:
            return await self._gateways.leases(self._store_url.replace("{namespace}", namespace))
        except NoAnswerError as error:
            return str(error)

    async def _count(
        self,
        pod: PodObject,
        asked: set[str],
        leases: list[GatewayInfo] | str,
        states: dict[str, DrainState],
    ) -> int | str:
        """Count a pod's connections; a text says why they are missing."""
        if (address := self.internal(pod)) is None:
            return 0  # it has no address yet, so nobody has reached it
        try:
            if pod.metadata.uid not in asked:
                return await self._gateways.connections(address)
            state = states[pod.metadata.uid] = await self._gateways.drain_state(address)
        except NoAnswerError as error:
            holds_lease = isinstance(leases, str) or any(
                lease.address == pod.address("http", HTTP_PORT) for lease in leases
            )
            return str(error) if pod.ready or holds_lease else 0
        return state.connections


def _other_manager(
    gateway: ParleyGateway,
    deployment: Deployment,
    autoscalers: Sequence[Autoscaler],
    objects: Sequence[Header],
) -> str | None:
    """Find who else manages the replicas; of several objects for one Deployment the oldest does."""
    for autoscaler in autoscalers:
        target = autoscaler.spec.scale_target_ref
        if target.kind == "Deployment" and target.name == deployment.metadata.name:
            return f"HorizontalPodAutoscaler {autoscaler.metadata.name}"
    rivals = [item.metadata for item in objects if item.spec.deployment == deployment.metadata.name]
    oldest = min(rivals, key=lambda meta: (meta.creation_timestamp, meta.name), default=gateway.metadata)
    if oldest.name != gateway.metadata.name:
        return f"ParleyGateway {oldest.name}"
    return deployment.applied_by


def _allowed(budgets: Sequence[Budget], pods: Sequence[PodObject]) -> int | None:
    """Say how many pods the budgets let go now; None when no budget selects any of them."""
    return min(
        (
            budget.status.disruptions_allowed
            for budget in budgets
            if budget.spec.selector is not None
            and any(budget.spec.selector.matches(pod.metadata.labels) for pod in pods)
        ),
        default=None,
    )
