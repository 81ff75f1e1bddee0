"""What the operator reads from and writes to the cluster, in its own words."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from parley_operator.kube import KubeClient
from parley_operator.objects import Autoscaler, Budget, Deployment, Listing, PodObject
from parley_operator.spec import GROUP, PLURAL, VERSION, Metadata, ParleyGateway, Status

DRAIN_LABEL: Final = f"{GROUP}/drained-by"
"""On a pod that an object has begun to drain, with the object's name; a label, so that it can be listed."""
DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
"""The lowest goes first, among the pods of a ReplicaSet that are equally ready."""
DRAIN_COST: Final = "-1000"

_OBJECTS: Final = f"/apis/{GROUP}/{VERSION}"


class HeaderSpec(msgspec.Struct, frozen=True):
    """What a ParleyGateway manages."""

    deployment: str = ""


class Header(msgspec.Struct, frozen=True):
    """A ParleyGateway, as far as it can be read even when it is not valid."""

    metadata: Metadata
    spec: HeaderSpec = HeaderSpec()


class Cluster:
    """The operator's view of the API. Every method raises what `KubeClient` raises."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def headers(self, namespace: str) -> tuple[Header, ...]:
        """List the ParleyGateways of a namespace, or of all, also those that are not valid."""
        where = f"/namespaces/{namespace}" if namespace else ""
        return (await self._client.get(f"{_OBJECTS}{where}/{PLURAL}", Listing[Header])).items

    async def gateway(self, namespace: str, name: str) -> ParleyGateway:
        """Read a ParleyGateway."""
        return await self._client.get(f"{_OBJECTS}/namespaces/{namespace}/{PLURAL}/{name}", ParleyGateway)

    async def write_status(self, known: ParleyGateway, status: Status) -> None:
        """Replace the object's status, if the object is still the version that was read."""
        path = f"{_OBJECTS}/namespaces/{known.metadata.namespace}/{PLURAL}/{known.metadata.name}/status"
        body = {
            "metadata": {"resourceVersion": known.metadata.resource_version},
            "status": msgspec.to_builtins(status),
        }
        await self._client.patch(path, body)

    async def deployment(self, namespace: str, name: str) -> Deployment:
        """Read the Deployment."""
        return await self._client.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}", Deployment)

    async def scale(self, known: Deployment, replicas: int) -> None:
        """Set the replicas, if the Deployment is still the version that was read."""
        meta = known.metadata
        await self._client.patch(
            f"/apis/apps/v1/namespaces/{meta.namespace}/deployments/{meta.name}/scale",
            {"metadata": {"resourceVersion": meta.resource_version}, "spec": {"replicas": replicas}},
        )

    async def pods(self, namespace: str, selector: str) -> tuple[PodObject, ...]:
        """List pods by their labels, in one namespace or in all."""
        where = f"/namespaces/{namespace}" if namespace else ""
        listing = Listing[PodObject]
        return (await self._client.get(f"/api/v1{where}/pods", listing, {"labelSelector": selector})).items

    async def mark_drained(self, pod: PodObject, by: str) -> None:
        """Note on a pod that it is being drained and should be the one to go."""
        await self._mark(pod, by, DRAIN_COST)

    async def unmark_drained(self, pod: PodObject) -> None:
        """Remove that note."""
        await self._mark(pod, None, None)

    async def _mark(self, pod: PodObject, label: str | None, cost: str | None) -> None:
        changes: dict[str, Any] = {
            "metadata": {"labels": {DRAIN_LABEL: label}, "annotations": {DELETION_COST: cost}}
        }
        meta = pod.metadata
        await self._client.patch(f"/api/v1/namespaces/{meta.namespace}/pods/{meta.name}", changes)

    async def budgets(self, namespace: str) -> tuple[Budget, ...]:
        """List the disruption budgets of a namespace."""
        path = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
        return (await self._client.get(path, Listing[Budget])).items

    async def autoscalers(self, namespace: str) -> tuple[Autoscaler, ...]:
        """List the HorizontalPodAutoscalers of a namespace."""
        path = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"
        return (await self._client.get(path, Listing[Autoscaler])).items
