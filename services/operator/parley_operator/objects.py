"""The Kubernetes objects that the operator reads beside its own, as far as it reads them."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from parley_operator.kube import FIELD_MANAGER
from parley_operator.spec import Metadata

T = TypeVar("T")


class Listing(Struct, Generic[T], kw_only=True, frozen=True):
    """A list of objects."""

    items: tuple[T, ...] = ()


class Expression(Struct, kw_only=True, rename="camel", frozen=True):
    """One requirement of a label selector."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class Selector(Struct, kw_only=True, rename="camel", frozen=True):
    """A label selector; an empty one selects everything."""

    match_labels: dict[str, str] = msgspec.field(default_factory=dict)
    match_expressions: tuple[Expression, ...] = ()

    def matches(self, labels: dict[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            _holds(expression, labels) for expression in self.match_expressions
        )

    def text(self) -> str:
        """Write the selector as the API's ``labelSelector`` wants it."""
        parts = [f"{key}={value}" for key, value in sorted(self.match_labels.items())]
        for item in self.match_expressions:
            values = ",".join(item.values)
            parts.append(
                {
                    "In": f"{item.key} in ({values})",
                    "NotIn": f"{item.key} notin ({values})",
                    "Exists": item.key,
                    "DoesNotExist": f"!{item.key}",
                }[item.operator]
            )
        return ",".join(parts)


def _holds(item: Expression, labels: dict[str, str]) -> bool:
    match item.operator:
        case "In":
            return labels.get(item.key) in item.values
        case "NotIn":
            return labels.get(item.key) not in item.values
        case "Exists":
            return item.key in labels
        case _:
            return item.key not in labels


class DeploymentSpec(Struct, kw_only=True, rename="camel", frozen=True):
    """What a Deployment asks for."""

    selector: Selector
    replicas: int = 1


class DeploymentStatus(Struct, kw_only=True, rename="camel", frozen=True):
    """How far its controller has come."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0


class Deployment(Struct, kw_only=True, rename="camel", frozen=True):
    """A Deployment."""

    metadata: Metadata
    spec: DeploymentSpec
    status: DeploymentStatus = DeploymentStatus()

    @property
    def rolling_out(self) -> bool:
        """Whether pods of an older template exist, or the controller has not seen the newest change."""
        return (
            self.status.observed_generation < self.metadata.generation
            or self.status.replicas > self.status.updated_replicas
        )

    @property
    def applied_by(self) -> str | None:
        """Who declares the replicas by server-side apply, and would set them back (GitOps tools do)."""
        for entry in self.metadata.managed_fields:
            fields = entry.fields_v1.get("f:spec")
            if (
                entry.operation == "Apply"
                and entry.manager != FIELD_MANAGER
                and isinstance(fields, dict)
                and "f:replicas" in fields
            ):
                return entry.manager
        return None


class ContainerPort(Struct, kw_only=True, rename="camel", frozen=True):
    """A port that a container names."""

    container_port: int
    name: str = ""


class Container(Struct, kw_only=True, rename="camel", frozen=True):
    """A container of a pod."""

    ports: tuple[ContainerPort, ...] = ()


class PodSpec(Struct, kw_only=True, rename="camel", frozen=True):
    """Where a pod runs and what in it."""

    containers: tuple[Container, ...] = ()
    node_name: str = ""


class PodCondition(Struct, kw_only=True, rename="camel", frozen=True):
    """A condition of a pod."""

    type: str
    status: str


class PodStatus(Struct, kw_only=True, rename="camel", frozen=True):
    """How a pod is."""

    phase: str = "Pending"
    pod_ip: str = msgspec.field(name="podIP", default="")
    conditions: tuple[PodCondition, ...] = ()


class PodObject(Struct, kw_only=True, rename="camel", frozen=True):
    """A pod of gateways."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def live(self) -> bool:
        """Whether it counts for its ReplicaSet: neither leaving nor ended."""
        return self.metadata.deletion_timestamp is None and self.status.phase not in {"Succeeded", "Failed"}

    @property
    def pending(self) -> bool:
        """Whether no node runs it yet; a ReplicaSet removes such a pod first."""
        return not self.spec.node_name or self.status.phase == "Pending"

    @property
    def ready(self) -> bool:
        """Whether Services send clients to it."""
        return any(item.type == "Ready" and item.status == "True" for item in self.status.conditions)

    def address(self, port_name: str, otherwise: int) -> str | None:
        """Find ``host:port`` of a named port; None before the pod has an address."""
        if not self.status.pod_ip:
            return None
        ports = [port for container in self.spec.containers for port in container.ports]
        number = next((port.container_port for port in ports if port.name == port_name), otherwise)
        host = f"[{self.status.pod_ip}]" if ":" in self.status.pod_ip else self.status.pod_ip
        return f"{host}:{number}"


class BudgetSpec(Struct, kw_only=True, rename="camel", frozen=True):
    """Whom a disruption budget protects."""

    selector: Selector | None = None


class BudgetStatus(Struct, kw_only=True, rename="camel", frozen=True):
    """How many of them may be disrupted now."""

    disruptions_allowed: int = 0


class Budget(Struct, kw_only=True, rename="camel", frozen=True):
    """A PodDisruptionBudget."""

    metadata: Metadata
    spec: BudgetSpec = BudgetSpec()
    status: BudgetStatus = BudgetStatus()


class ScaleTarget(Struct, kw_only=True, rename="camel", frozen=True):
    """What an autoscaler scales."""

    kind: str
    name: str


class AutoscalerSpec(Struct, kw_only=True, rename="camel", frozen=True):
    """An autoscaler's aim."""

    scale_target_ref: ScaleTarget


class Autoscaler(Struct, kw_only=True, rename="camel", frozen=True):
    """A HorizontalPodAutoscaler; KEDA makes one too."""

    metadata: Metadata
    spec: AutoscalerSpec
